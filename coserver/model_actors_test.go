package coserver_test

// steps makes all steps that s allows.
func (m *modelSearch) steps(s modelState) {
	for i := range s.routines {
		if s.routines[i].at != noRoutine {
			m.carrier(s, uint8(i))
		}
	}
	if s.coroutine == coRuns {
		m.runHandler(s)
	}
	m.close(s)
	m.set(s)
	m.look(s)
	m.world(s)
}

// world is what happens by itself.
func (m *modelSearch) world(s modelState) {
	if s.events > 0 && s.handler != hGone {
		n := s
		n.events--
		n.data++
		n.edge = true
		m.outside("peer", "sends", n)
	}
	if m.times && s.now < laterDeadline {
		n := s
		n.now++
		m.outside("clock", "reaches a deadline", n)
	}
	if !s.closing && (m.kills || s.handler == hGone) {
		n := s
		n.closing = true
		m.outside("engine", "is closed", n)
	}
}

// runHandler makes the steps of a handler that reads until it has got all, or the connection is closed. It does without its
// deadline once that is over.
func (m *modelSearch) runHandler(s modelState) {
	at := &s.handler
	does := ""
	switch *at {
	case hBegin:
		does, s.g, *at = "stores g", true, hTake
	case hTake:
		if does, *at = "looks whether the gate is ready", hSettle; s.gate == modelReady {
			*at = hTakeReady
		}
	case hTakeReady:
		if does, *at = "CAS ready to shut", hSettle; s.gate == modelReady {
			s.gate, *at = modelShut, hRecv
		}
	case hRecv:
		if does, *at = "receives", hSettle; s.data > 0 {
			s.got, s.data, *at = s.got+s.data, 0, hGot
		}
	case hGot:
		does = "looks at closed and what it has got"
		if s.closed || s.got == m.events {
			*at = hClose
			break
		}
		if s.turns > 0 {
			n := s
			n.turns--
			n.handler = hPin
			m.to("handler", "looks at closed and is to give its turn up", n)
		}
		if *at = hTake; m.moves && s.deadline == earlyDeadline {
			*at = hMove
		}
	case hPin:
		does = "pins its visit, if it goes on"
		if *at = hTake; s.taskVisit != 0 && s.visit[theTasks] == s.taskVisit<<1 {
			if *at = hRequeue; !m.givesWayUnpinned {
				s.visit[theTasks] |= 1
			}
		}
	case hRequeue:
		does = "stands in the queue of the loop"
		carrier := s.routines[s.owner[theTasks]]
		m.must(carrier.at == inNext, "a handler touches a loop that is not its own any more")
		s.requeued++
		m.owe(&s, owedTurn)
		if *at = hUnpin; m.givesWayUnpinned {
			*at = hTurn
		}
	case hUnpin:
		does, s.visit[theTasks], *at = "unpins its visit", s.taskVisit<<1, hTurn
	case hTurn:
		does, *at = "yields its turn", hTurnYielded
		m.yield(&s)
	case hSettle:
		m.settle(s)
		return
	default:
		m.waits(s)
		return
	}
	m.to("handler", does, s)
}

// settle is task.settle: where the handler has the choice, it takes each.
func (m *modelSearch) settle(s modelState) {
	onLoop := s.taskVisit != 0 && s.visit[theTasks]>>1 == s.taskVisit
	s.parks, s.handler = true, hArm
	if m.armsLate {
		s.handler = hCheckBeforeArm
	}
	if !onLoop && m.apart {
		s.taskVisit = 0
		n := s
		n.parks = false
		m.to("handler", "settles to wait on its channel", n)
	}
	m.to("handler", "settles to park", s)
}

// waits makes the steps of Conn.wait, and those of the handler's end.
func (m *modelSearch) waits(s modelState) {
	at := &s.handler
	does := ""
	switch *at {
	case hCheckBeforeArm:
		if does, *at = "looks at closed before it waits", hArm; s.closed {
			*at = hClose
		}
	case hArm:
		m.must(s.gate != modelWaited, "a gate is armed twice")
		if does, *at = "arms the gate, unless it is ready", hTake; s.gate == modelShut {
			if s.gate, *at = modelWaited, hClosed; m.armsLate {
				*at = hDeadlines
			}
		}
	case hClosed:
		if does, *at = "looks at closed", hDeadlines; s.closed {
			*at = hClosedDisarm
		}
	case hClosedDisarm:
		if does, *at = "CAS waited to shut, for it is closed", hDeadlines; s.gate == modelWaited {
			s.gate, *at = modelShut, hClose
		}
	case hDeadlines:
		if does, *at = "looks for deadlines", hWait; s.deadlines {
			*at = hExpired
		}
	case hExpired:
		if does, *at = "looks at the deadline", hWatch; s.expired() {
			*at = hExpiredDisarm
		}
	case hExpiredDisarm:
		if does, *at = "CAS waited to shut, for it is too late", hWatch; s.gate == modelWaited {
			s.gate, *at = modelShut, hClear
		}
	case hWatch:
		does, *at = "CAS armed, if there is a deadline and it is not", hWait
		if s.arm(s.deadline) {
			*at = hWatchPost
		}
	case hWatchPost:
		does, *at = "posts the arming", hWait
		m.post(&s, itemArming)
	case hWait:
		if s.parks {
			does, *at = "yields", hYielded
			m.yield(&s)
		} else {
			does, *at = "waits on its channel", hChannel
		}
	case hChannel:
		if s.channel == 0 {
			return
		}
		does, *at = "is woken on its channel", hWoke
		s.channel--
		m.pay(&s, owedGate)
	case hWoke:
		if does, *at = "looks at closed after it has waited", hWhy; s.closed {
			*at, s.woken = hClose, false
		}
	case hWhy:
		does, s.why, s.woken, *at = "takes the reason it was woken for", s.woken, false, hOver
	case hOver:
		does = "looks at the deadline after it has waited"
		switch {
		case s.expired() && (s.why || m.losesReadiness):
			*at = hClear
		case s.expired():
			*at = hReopen
		case s.why:
			*at = hTake
		default:
			*at = hRecv
		}
		s.why = false
	case hReopen:
		does, s.gate, *at = "makes the gate ready again", modelReady, hClear
	case hClear:
		does, s.deadline, *at = "clears its deadline", 0, hTake
	case hMove:
		does, s.deadline, *at = "moves its deadline on", laterDeadline, hTake
	case hClose:
		does, s.closed, *at = "closes the connection", true, hCloseTimer
	case hCloseTimer:
		if does, *at = "has the timer stopped", hEnd; s.armed != 0 {
			m.post(&s, itemArming)
		}
	case hEnd:
		does, s.g, *at = "ends: g is 0", false, hEndState
	case hEndState:
		does, s.task, *at = "ends: stores ended", modelEnded, hUnhold
		if m.strays {
			*at = hForget
		}
	case hForget, hForgetDelete, hForgetCount:
		m.forget("handler", &s, at, hForget, hUnhold)
		return
	case hUnhold:
		does, s.held, *at = "ends: lets go of the loop", false, hReturn
	case hReturn:
		does, s.coroutine, *at = "returns", coDies, hGone
	}
	m.to("handler", does, s)
}

// yield is a call of yield.
func (m *modelSearch) yield(s *modelState) {
	if s.coroutine = coLeaves; m.parksItself {
		s.task = modelParked
	}
}

// close makes the steps of Conn.end, in a handler on the other loop.
func (m *modelSearch) close(s modelState) {
	switch s.closer {
	case kBegin:
		if s.closer = kClaim; s.closed {
			s.closer = kDone
		}
		s.closed = true
		m.to("closer", "swaps closed", s)
	case kClaim, kWoken, kWake:
		m.wakeWaiter("closer", &s, &s.closer, kClaim, kTimer)
	case kTimer:
		if s.closer = kDone; s.armed != 0 {
			m.post(&s, itemArming)
		}
		m.to("closer", "has the timer stopped", s)
	}
}

// set makes the steps of Conn.setDeadline with a time that is past, on a goroutine of its own.
func (m *modelSearch) set(s modelState) {
	does := ""
	switch s.setter {
	case kIdle:
		if m.sets {
			s.deadlines, s.setter = true, kBegin
			m.outside("setter", "makes the deadlines", s)
		}
		return
	case kBegin:
		does, s.deadline, s.setter = "stores a deadline that is past", earlyDeadline, kWaited
	case kWaited:
		if does, s.setter = "looks whether somebody waits", kDone; s.gate == modelWaited {
			s.setter = kExpired
		}
	case kExpired:
		if does, s.setter = "looks at the deadline", kArm; s.expired() {
			s.setter = kClaim
		}
	case kClaim, kWoken, kWake:
		m.wakeWaiter("setter", &s, &s.setter, kClaim, kDone)
		return
	case kArm:
		if does, s.setter = "CAS armed", kDone; s.arm(earlyDeadline) {
			s.setter = kArmPost
		}
	case kArmPost:
		does, s.setter = "posts the arming", kDone
		m.post(&s, itemArming)
	default:
		return
	}
	m.to("setter", does, s)
}

// look makes the steps of the monitor, which takes any visit for too long.
func (m *modelSearch) look(s modelState) {
	const who = "monitor"
	switch s.monitor {
	case mLook:
		for l := range s.visit {
			if s.visit[l] != 0 && s.taken < m.takeOvers {
				n := s
				n.looksAt, n.sight, n.monitor = uint8(l), s.visit[l]>>1, mRunning
				m.outside(who, "sees a visit twice", n)
			}
		}
	case mRunning:
		s.victim, s.monitor = s.running[s.looksAt], mDepose
		m.to(who, "looks whose visit it is", s)
	case mDepose:
		m.depose(s)
	default:
		m.know(who, &s, &s.monitor, mAdd, mLook)
		if s.monitor == mLook {
			return
		}
	}
}

// depose is Loop.Depose. The goroutine that it spawns has the loop from then on, whenever it begins.
func (m *modelSearch) depose(s modelState) {
	l, victim := s.looksAt, s.victim
	word := &s.visit[l]
	seen := s.sight
	s.looksAt, s.sight, s.victim, s.monitor = 0, 0, 0, mLook
	if *word != seen<<1 && !(m.deposesPinned && *word>>1 == seen) {
		m.to("monitor", "finds the visit over, or pinned", s)
		return
	}
	m.must(*word&1 == 0, "a visit is deposed that is pinned")
	at := s.routines[s.owner[l]].at
	other := at == inOther || at == atOtherLeave || at == atOtherRunningLate
	m.must(other == (victim == otherTask), "the monitor takes one task for the other")
	*word = 0
	routine, ok := s.spawn(l, atBegin)
	m.must(ok, "too many goroutines carry")
	s.owner[l] = routine
	if s.taken++; m.strays && victim == theTask {
		s.monitor = mAdd
	}
	m.to("monitor", "deposes", s)
}

// know makes the steps of strayTasks.add.
func (m *modelSearch) know(who string, s *modelState, at *uint8, base, after uint8) {
	does := ""
	switch *at - base {
	case 0:
		does, *at = "strays: counts", base+1
		s.strays++
	case 1:
		if does, *at = "strays: looks at g", base+2; !s.g {
			*at = base + 7
		}
	case 2:
		if does, *at = "strays: swaps", base+4; s.stray {
			*at = base + 3
		}
		s.stray = true
	case 3:
		does, *at = "strays: there was one, counts back", base+4
		s.strays--
	case 4:
		if does, *at = "strays: looks at g again", after; !s.g && !m.looksOnce {
			*at = base + 5
		}
	default:
		m.forget(who, s, at, base+5, after)
		return
	}
	m.to(who, does, *s)
}

// forget makes the steps of strayTasks.forget.
func (m *modelSearch) forget(who string, s *modelState, at *uint8, base, after uint8) {
	does := ""
	switch *at - base {
	case 0:
		if does, *at = "strays: looks whether there is any", after; s.strays > 0 {
			*at = base + 1
		}
	case 1:
		if does, *at = "strays: deletes", after; s.stray {
			s.stray, *at = false, base+2
		}
	case 2:
		does, *at = "strays: counts back", after
		s.strays--
	}
	m.to(who, does, *s)
}

// wakeWaiter makes the steps of Conn.wakeWaiter.
func (m *modelSearch) wakeWaiter(who string, s *modelState, at *uint8, base, after uint8) {
	does := ""
	switch *at - base {
	case 0:
		if does, *at = "CAS waited to shut", after; s.gate == modelWaited {
			s.gate, *at = modelShut, base+1
			m.owe(s, owedGate)
		}
	case 1:
		does, s.woken, *at = "says that it is not readiness", true, base+2
	case 2:
		does, *at = "wakes the waiter by post or channel", after
		m.wake(s)
	}
	m.to(who, does, *s)
}

// wake is waiter.wake, from another goroutine than the loop's.
func (m *modelSearch) wake(s *modelState) {
	if s.parks {
		m.post(s, itemTask)
		return
	}
	s.channel++
	m.must(s.channel <= 1, "who wakes would wait itself")
}

// post is Loop.Post.
func (m *modelSearch) post(s *modelState, item uint8) {
	if s.ended[theTasks] {
		m.must(item != itemTask, "a wake-up comes to a loop that has ended")
		return
	}
	m.must(s.post(item), "more is posted than ever can be")
}

// owe notes that a wake-up is on its way, and pay that it has arrived.
func (m *modelSearch) owe(s *modelState, what uint8) {
	m.must(s.owed == owedNothing, "there are two wake-ups for one wait")
	s.owed = what
}

func (m *modelSearch) pay(s *modelState, what uint8) {
	m.must(s.owed == what, "a task is resumed that waits for something else")
	s.owed = owedNothing
}
