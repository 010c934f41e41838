package coserver_test

// modelState is all that the model knows: the words of the code under their names there, where everybody stands, and what the model
// remembers to tell right from wrong. It is comparable, and as small as it can be.
type modelState struct {
	// Of the loops: the one that carries the task, and another.
	visit   [2]uint8 // number of the visit, shifted left, and the pin
	last    [2]uint8
	running [2]uint8 // reactor.running: whose visit
	ended   [2]bool

	mailbox  [modelMailbox]uint8
	requeued uint8 // how often the task stands in the queue for the next turn
	other    bool  // the other handler has been run
	killed   bool
	timer    uint8 // when the timer fires, 0: it is not set
	closing  bool

	// Of the task and its connection.
	task      uint8 // task.state
	taskVisit uint8
	g         bool // task.g is not 0
	gate      uint8
	parks     bool  // waiter.task is not nil
	channel   uint8 // what is in waiter.ch
	closed    bool
	woken     bool
	deadlines bool  // there are any
	deadline  uint8 // deadlines.at
	armed     uint8 // deadlines.armed
	held      bool  // the task's Hold of its loop
	strays    uint8
	stray     bool // strays.byG has the task

	// Of the kernel and the outside.
	now    uint8
	data   uint8 // what has come and has not been read
	edge   bool  // and what of it has not been told to the loop
	events uint8 // what is still to come
	got    uint8
	turns  uint8 // how often the handler may still give its turn up
	taken  uint8 // how often a loop has been taken over

	// Who stands where.
	routines  [modelRoutines]modelRoutine // goroutines that carry
	coroutine uint8
	handler   uint8
	why       bool // what the handler has found in woken
	closer    uint8
	setter    uint8
	monitor   uint8
	looksAt   uint8 // which loop the monitor has seen
	sight     uint8 // in which visit
	victim    uint8 // whose

	// What the model remembers.
	owner [2]uint8 // of each loop: the goroutine that may touch it
	owed  uint8    // the wake-up that is on its way to the task
}

const (
	modelMailbox  = 6
	modelRoutines = 6
)

// modelRoutine is a goroutine that carries: a loop's, or one that was, or one of the pool.
type modelRoutine struct {
	at      uint8
	loop    uint8
	visit   uint8
	deposed bool  // it knows
	marked  bool  // carrier.deposed
	when    uint8 // what it has read in armed
}

const (
	theTasks = iota // the loop of the task
	theOther
	noLoop
)

const (
	nobody    = iota
	theTask   // the task
	otherTask // the other handler on its loop, or on the other loop the one that closes the connection
)

// Items of a mailbox.
const (
	noItem = iota
	itemTask
	itemOther
	itemArming
)

// Words of task and gate, as the code has them.
const (
	modelParked = iota
	modelRunning
	modelWoken
	modelEnded
)

const (
	modelShut = iota
	modelReady
	modelWaited
)

// What a coroutine does. It leaves from its call of yield, or its end, until next has returned.
const (
	coYielded = iota
	coRuns
	coLeaves
	coDies
	coDead
)

// What the task is owed a wake-up for.
const (
	owedNothing = iota
	owedStart
	owedGate
	owedTurn
)

// Where a carrier stands: before the step of that name.
const (
	noRoutine = iota
	// At home.
	atHome
	atBegin // of Loop.run
	atOpen
	atOpenShut
	atOpenWaited
	atOpenWake
	atResume
	atResumeRunning
	atRunning
	atEnter
	atArming
	atArmingClosed
	atExpiring
	atExpiringDue
	atExpiringWaited
	atExpiringArm
	atExpiringArmPost
	atExpiringLate // only where it comes too late
	atClaim
	atClaimWoken
	atClaimWake
	atKill
	atKillClaim
	atKillWoken
	atKillWake
	atKillTimer
	atOtherRunning
	atOtherEnter
	// Visiting.
	atVisit
	atVisitRunning // only where it comes too late
	atNext
	inNext
	inNextPublished // only where it comes too early
	atLeave
	inOther
	atOtherRunningLate // only where it comes too late
	atOtherLeave
	// After it.
	atPublish
	atPublishEnded
	atPublishParked
	atPublishPost
	atExit
	// On a goroutine of the pool.
	atApart
	atApartAdd
	atApartNext = atApartAdd + addSteps
)

// addSteps is how many steps strayTasks.add has.
const addSteps = 8

// Where the handler stands.
const (
	hNew = iota
	hBegin
	hTake
	hTakeReady
	hRecv
	hGot
	hPin
	hRequeue
	hUnpin
	hTurn
	hTurnYielded
	hSettle
	hCheckBeforeArm // only where it comes too early
	hArm
	hClosed
	hClosedDisarm
	hDeadlines
	hExpired
	hExpiredDisarm
	hWatch
	hWatchPost
	hWait
	hYielded
	hChannel
	hWoke
	hWhy
	hOver
	hReopen
	hClear
	hMove
	hClose
	hCloseTimer
	hEnd
	hEndState
	hForget
	hForgetDelete
	hForgetCount
	hUnhold
	hReturn
	hGone
)

// Where the one that closes the connection, or sets its deadline, stands.
const (
	kIdle = iota
	kBegin
	kClaim
	kWoken
	kWake
	kTimer
	kWaited
	kExpired
	kArm
	kArmPost
	kDone
)

// Where the monitor stands.
const (
	mLook = iota
	mRunning
	mDepose
	mAdd
)

func (s *modelState) post(item uint8) bool {
	for i := range s.mailbox {
		if s.mailbox[i] == noItem {
			s.mailbox[i] = item
			return true
		}
	}
	return false
}

func (s *modelState) pop() uint8 {
	item := s.mailbox[0]
	copy(s.mailbox[:], s.mailbox[1:])
	s.mailbox[modelMailbox-1] = noItem
	return item
}

// spawn begins a goroutine, and reports which it is.
func (s *modelState) spawn(loop, at uint8) (routine uint8, ok bool) {
	for i := range s.routines {
		if s.routines[i].at == noRoutine {
			s.routines[i] = modelRoutine{at: at, loop: loop}
			return uint8(i), true
		}
	}
	return 0, false
}

// arm is the CAS of Conn.armTimer. It reports whether the timer is to be set.
func (s *modelState) arm(when uint8) bool {
	if when == 0 || s.armed != 0 && s.armed <= when {
		return false
	}
	s.armed = when
	return true
}

func (s *modelState) expired() bool { return s.deadline != 0 && s.now >= s.deadline }
