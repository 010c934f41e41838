package coserver_test

// name is what a trace calls a goroutine that carries.
func (s *modelState) name(i uint8) string {
	l := s.routines[i].loop
	switch {
	case l == noLoop:
		return "pool"
	case s.owner[l] != i:
		return [...]string{"was loop", "was other"}[l]
	}
	return [...]string{"loop", "other loop"}[l]
}

// carrier makes the steps of the i-th goroutine that carries: those of Loop.iterate, of task.resume and what comes after it.
func (m *modelSearch) carrier(s modelState, i uint8) {
	r := &s.routines[i]
	who := s.name(i)
	if r.at < atVisit {
		m.must(s.owner[r.loop] == i, "a goroutine touches the loop of another")
	}
	switch r.at {
	case atHome:
		m.home(s, i)
	case atBegin:
		r.at = atHome
		m.to(who, "goes on with the iteration", s)
	case atOpen:
		switch s.gate {
		case modelReady:
			r.at = atHome
		case modelShut:
			r.at = atOpenShut
		default:
			r.at = atOpenWaited
		}
		m.to(who, "open: looks at the gate", s)
	case atOpenShut:
		if r.at = atOpen; s.gate == modelShut {
			s.gate, r.at = modelReady, atHome
		}
		m.to(who, "open: CAS shut to ready", s)
	case atOpenWaited:
		if r.at = atOpen; s.gate == modelWaited || m.opensWithoutClaim {
			s.gate, r.at = modelShut, atOpenWake
			m.owe(&s, owedGate)
		}
		m.to(who, "open: CAS waited to shut", s)
	case atOpenWake:
		r.at = atResume
		if !s.parks {
			r.at = atHome
			m.wake(&s)
		}
		m.to(who, "wakes the waiter for it is ready", s)
	case atArming:
		if r.when, r.at = s.armed, atArmingClosed; s.armed == 0 {
			s.timer, r.at = 0, atHome
		}
		m.to(who, "arming: looks at armed", s)
	case atArmingClosed:
		if s.timer = r.when; s.closed {
			s.timer = 0
		}
		r.when, r.at = 0, atHome
		m.to(who, "arming: sets the timer, or stops it if closed", s)
	case atExpiring:
		if r.at = atExpiringDue; !m.expiresLate {
			s.armed = 0
		}
		m.to(who, "expiring: stores armed", s)
	case atExpiringDue:
		switch {
		case s.expired():
			r.at = atClaim
		case s.deadline != 0:
			r.at = atExpiringWaited
		case m.expiresLate:
			r.at = atExpiringLate
		default:
			r.at = atHome
		}
		m.to(who, "expiring: looks at the deadline", s)
	case atExpiringWaited:
		if r.at = atHome; s.gate == modelWaited {
			r.at = atExpiringArm
		} else if m.expiresLate {
			r.at = atExpiringLate
		}
		m.to(who, "expiring: looks whether somebody waits", s)
	case atExpiringArm:
		if r.at = atHome; s.arm(laterDeadline) { // one that was not over
			r.at = atExpiringArmPost
		} else if m.expiresLate {
			r.at = atExpiringLate
		}
		m.to(who, "expiring: CAS armed", s)
	case atExpiringArmPost:
		if r.at = atHome; m.expiresLate {
			r.at = atExpiringLate
		}
		m.post(&s, itemArming)
		m.to(who, "expiring: posts the arming", s)
	case atExpiringLate:
		s.armed, r.at = 0, atHome
		m.to(who, "expiring: stores armed, too late", s)
	case atClaim, atClaimWoken, atClaimWake:
		after := uint8(atHome)
		if m.expiresLate {
			after = atExpiringLate
		}
		m.wakeWaiter(who, &s, &s.routines[i].at, atClaim, after)
	case atKill:
		if r.at = atKillClaim; s.closed {
			r.at = atHome
		}
		s.closed = true
		m.to(who, "kills: swaps closed", s)
	case atKillClaim, atKillWoken, atKillWake:
		m.wakeWaiter(who, &s, &s.routines[i].at, atKillClaim, atKillTimer)
	case atKillTimer:
		if r.at = atHome; s.armed != 0 {
			m.post(&s, itemArming)
		}
		m.to(who, "kills: has the timer stopped", s)
	default:
		m.visits(s, i, who)
	}
}

// home makes the steps of a loop that looks for work: it takes any that there is.
func (m *modelSearch) home(s modelState, i uint8) {
	l := s.routines[i].loop
	who := s.name(i)
	if l == theOther {
		m.otherHome(s, i)
		return
	}
	take := func(n modelState, at uint8, does string) {
		n.routines[i].at = at
		m.to(who, does, n)
	}
	if s.edge {
		n := s
		n.edge = false
		take(n, atOpen, "takes an event")
	}
	if s.mailbox[0] != noItem {
		n := s
		switch n.pop() {
		case itemTask:
			take(n, atResume, "takes the task from the mailbox")
		case itemOther:
			take(n, atOtherRunning, "takes the other task from the mailbox")
		case itemArming:
			take(n, atArming, "takes the arming from the mailbox")
		}
	}
	if s.requeued > 0 {
		n := s
		n.requeued--
		take(n, atResume, "takes the task whose turn it is")
	}
	if s.timer != 0 && s.now >= s.timer {
		n := s
		n.timer = 0
		take(n, atExpiring, "fires the timer")
	}
	if s.closing && !s.killed {
		n := s
		n.killed = true
		take(n, atKill, "finds that the engine closes")
	}
	if s.killed && !s.held && s.mailbox[0] == noItem {
		n := s
		n.ended[l], n.timer, n.edge = true, 0, false
		m.must(n.requeued == 0, "a loop ends with a task in its queue")
		n.routines[i] = modelRoutine{}
		m.to(who, "ends", n)
	}
}

// otherHome is home on the loop that runs nothing but the handler that closes the connection.
func (m *modelSearch) otherHome(s modelState, i uint8) {
	who := s.name(i)
	if s.closer == kIdle && m.closes {
		n := s
		n.routines[i].at = atOtherRunning
		m.outside(who, "takes up the handler that closes", n)
	}
	if s.closing && (s.closer == kIdle || s.closer == kDone) {
		s.ended[theOther] = true
		s.routines[i] = modelRoutine{}
		m.to(who, "ends", s)
	}
}

// enter is Loop.Enter.
func (m *modelSearch) enter(s *modelState, i uint8) {
	r := &s.routines[i]
	m.must(s.visit[r.loop] == 0, "a visit begins in another")
	if s.last[r.loop]++; m.visitsWithoutNumber {
		s.last[r.loop] = 1
	}
	r.visit = s.last[r.loop]
	s.visit[r.loop] = r.visit << 1
}

// visits makes the steps of a goroutine from task.resume on.
func (m *modelSearch) visits(s modelState, i uint8, who string) {
	r := &s.routines[i]
	switch r.at {
	case atResume:
		m.resume(s, i, who)
	case atResumeRunning:
		if r.at = atResume; s.task == modelRunning {
			r.at = atHome
			if !m.dropsWakeUps {
				s.task = modelWoken
			}
		}
		m.to(who, "resume: CAS running to woken", s)
	case atRunning:
		s.running[r.loop], r.at = theTask, atEnter
		m.to(who, "resume: stores running", s)
	case atEnter:
		m.enter(&s, i)
		r.at = atVisit
		m.to(who, "resume: enters a visit", s)
	case atVisit:
		if s.taskVisit, r.at = r.visit, atNext; m.runningLate {
			r.at = atVisitRunning
		}
		m.to(who, "resume: tells the task its visit", s)
	case atVisitRunning:
		s.running[r.loop], r.at = theTask, atNext
		m.to(who, "resume: stores running, too late", s)
	case atNext, atApartNext:
		m.enterNext(&s)
		r.at = inNext
		m.to(who, "calls next", s)
	case inNext, inNextPublished:
		m.leaveNext(s, i, who)
	case atLeave, atOtherLeave:
		m.leave(s, i, who)
	case atOtherRunning:
		if r.at = atOtherEnter; !m.runningLate {
			s.running[r.loop] = otherTask
		}
		m.to(who, "resumes the other task: stores running", s)
	case atOtherEnter:
		m.enter(&s, i)
		if r.at = inOther; m.runningLate {
			r.at = atOtherRunningLate
		}
		if r.loop == theOther {
			s.closer = kBegin
		} else {
			s.other = true
		}
		m.to(who, "resumes the other task: enters a visit", s)
	case atOtherRunningLate:
		s.running[r.loop], r.at = otherTask, inOther
		m.to(who, "resumes the other task: stores running, too late", s)
	case inOther:
		if r.loop == theTasks || s.closer == kDone {
			r.at = atOtherLeave
			m.to(who, "comes back from the other task", s)
		}
	case atPublish, atPublishEnded, atPublishParked, atPublishPost:
		m.publish(s, i, who)
	case atExit:
		if r.marked {
			*r = modelRoutine{}
		} else { // as after a Goexit of the handler
			m.must(false, "a goroutine that has been deposed has its loop run on by another")
		}
		m.to(who, "exits", s)
	case atApart:
		if s.taskVisit, r.at = 0, atApartNext; m.strays {
			r.at = atApartAdd
		}
		m.to(who, "runs the task apart: no visit", s)
	default:
		m.know(who, &s, &s.routines[i].at, atApartAdd, atApartNext)
	}
}

// resume is the CAS that resuming a task begins with, and what leaves decides after it.
func (m *modelSearch) resume(s modelState, i uint8, who string) {
	r := &s.routines[i]
	switch s.task {
	case modelRunning:
		r.at = atResumeRunning
	case modelParked:
		s.task = modelRunning
		if m.apart {
			n := s
			n.routines[i].at = atHome
			_, ok := n.spawn(noLoop, atApart)
			m.must(ok, "too many goroutines carry")
			m.to(who, "resume: CAS parked to running, and has it run apart", n)
		}
		if r.at = atRunning; m.runningLate {
			r.at = atEnter
		}
	default:
		m.must(false, "what is woken or has ended is woken again; the loop would spin")
	}
	m.to(who, "resume: CAS parked to running", s)
}

// enterNext is what a call of next begins with.
func (m *modelSearch) enterNext(s *modelState) {
	for _, r := range s.routines {
		m.must(r.at != inNext && r.at != inNextPublished, "two goroutines are inside next")
	}
	m.must(s.coroutine == coYielded, "next is called before the task has yielded, or after its end")
	s.coroutine = coRuns
	switch s.handler {
	case hNew:
		m.pay(s, owedStart)
		s.handler = hBegin
	case hYielded:
		m.pay(s, owedGate)
		s.handler = hWoke
	case hTurnYielded:
		m.pay(s, owedTurn)
		s.handler = hTake
	default:
		m.must(false, "a task is resumed that does not wait")
	}
}

// leaveNext is the return of next.
func (m *modelSearch) leaveNext(s modelState, i uint8, who string) {
	r := &s.routines[i]
	if m.publishesEarly && r.at == inNext && s.coroutine == coLeaves {
		r.at = inNextPublished
		if s.task == modelRunning {
			s.task = modelParked
		}
		m.to(who, "publishes the task as parked, too early", s)
		return
	}
	switch s.coroutine {
	case coLeaves:
		s.coroutine = coYielded
	case coDies:
		s.coroutine = coDead
	default:
		return
	}
	if r.at = atLeave; r.loop == noLoop {
		r.at = atPublish
	}
	m.to(who, "next returns", s)
}

// leave is Loop.Leave.
func (m *modelSearch) leave(s modelState, i uint8, who string) {
	r := &s.routines[i]
	word := &s.visit[r.loop]
	m.must(*word&1 == 0 || s.owner[r.loop] != i, "a visit ends while it is pinned")
	if *word == r.visit<<1 || m.leavesWithoutCAS {
		*word = 0
		m.must(s.owner[r.loop] == i, "a goroutine that has been deposed leaves its visit as if it had not")
	} else {
		r.deposed = true
		m.must(s.owner[r.loop] != i, "a goroutine that has not been deposed gives its loop up")
		if r.marked = !m.marksTheLoop; m.marksTheLoop {
			s.routines[s.owner[r.loop]].marked = true
		}
	}
	r.visit = 0
	if r.at == atOtherLeave {
		r.at = m.afterVisit(r)
	} else {
		r.at = atPublish
	}
	m.to(who, "leaves the visit, or finds it over", s)
}

// afterVisit is where a carrier goes when it has published its task.
func (m *modelSearch) afterVisit(r *modelRoutine) uint8 {
	switch {
	case r.loop == noLoop:
		return noRoutine
	case r.deposed && !m.deposedGoesOn:
		return atExit
	}
	return atHome
}

// publish is task.published.
func (m *modelSearch) publish(s modelState, i uint8, who string) {
	r := &s.routines[i]
	does := "published: CAS running to parked"
	done := false
	switch r.at {
	case atPublish:
		if s.task == modelRunning {
			s.task, done = modelParked, true
		}
		if r.at = atPublishEnded; m.buriesNoDead {
			r.at = atPublishParked
		}
		done = done || m.publishesEarly || m.parksItself
	case atPublishEnded:
		does = "published: looks whether it has ended"
		r.at, done = atPublishParked, s.task == modelEnded
	case atPublishParked:
		does = "published: stores parked"
		s.task, r.at = modelParked, atPublishPost
		done = m.forgetsWoken
	case atPublishPost:
		does = "published: posts the task again"
		m.post(&s, itemTask)
		done = true
	}
	if done {
		if r.at = m.afterVisit(r); r.at == noRoutine {
			*r = modelRoutine{}
		}
	}
	m.to(who, does, s)
}
