package coserver_test

import (
	"cmp"
	"slices"
)

// staleVisit is the number of any visit that is over. No visit has it.
const staleVisit = 255

// normal makes equal what differs in nothing that can still show: which of its places a goroutine has, the numbers of visits, what
// is overwritten before it is read.
func (m *modelSearch) normal(s *modelState) {
	m.forgetVisits(s)
	// Each loop's goroutine first.
	for l := range s.owner {
		from := s.owner[l]
		s.routines[l], s.routines[from] = s.routines[from], s.routines[l]
		s.owner[l] = uint8(l)
		if other := 1 - l; s.owner[other] == uint8(l) {
			s.owner[other] = from
		}
	}
	slices.SortFunc(s.routines[len(s.owner):], func(a, b modelRoutine) int {
		return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(a.loop, b.loop), cmp.Compare(a.visit, b.visit))
	})
	if s.handler < hCheckBeforeArm || s.handler > hChannel {
		s.parks = false
	}
}

// forgetVisits gives the visit in progress the number 1 and all others one of their own. They are only ever compared with the one
// in progress, and no later one has their number.
func (m *modelSearch) forgetVisits(s *modelState) {
	if m.visitsWithoutNumber {
		return
	}
	for i := range s.routines {
		if r := &s.routines[i]; r.visit != 0 && r.visit != s.visit[r.loop]>>1 {
			r.visit = staleVisit
		}
	}
	if s.taskVisit != s.visit[theTasks]>>1 {
		s.taskVisit = 0 // it can pin nothing, as if there were none
	}
	if (s.monitor == mRunning || s.monitor == mDepose) && s.sight != s.visit[s.looksAt]>>1 {
		s.monitor, s.looksAt, s.sight, s.victim = mLook, 0, 0, 0 // it can depose nothing
	}
	for l := range s.visit {
		if s.last[l] = s.visit[l] >> 1; s.last[l] != 0 {
			continue
		}
		if at := s.routines[s.owner[l]].at; at != atEnter && at != atOtherEnter {
			s.running[l] = nobody
		}
	}
}
