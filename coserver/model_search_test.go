package coserver_test

import (
	"fmt"
	"strings"
)

// modelSearch visits every state that the model can reach, the nearest first. So the trace to the first fault is a shortest one.
type modelSearch struct {
	modelRules
	seen    map[modelState]struct{}
	nodes   []modelNode // in the order in which they were found
	next    []modelState
	reached modelPlaces

	at    int32  // the node whose steps are being made
	able  int    // of them, those that come by themselves
	may   int    // and those that need somebody from outside
	wrong string // what is wrong with the step in the making
	found *modelFault
}

// modelNode is how a state was reached.
type modelNode struct {
	parent int32
	who    string
	does   string
}

// modelFault is what must not be, and the node that it was found after.
type modelFault struct {
	node  int32
	wrong string
}

// explore returns nil if nothing is wrong in any state, and else the shortest trace to what is.
func (m *modelSearch) explore() *modelFault {
	m.seen = make(map[modelState]struct{})
	m.add(-1, "", "", m.first())
	for m.at = 0; int(m.at) < len(m.nodes) && m.found == nil; m.at++ {
		s := m.next[0]
		m.next = m.next[1:]
		m.able, m.may = 0, 0
		m.steps(s)
		if m.found != nil {
			break
		}
		if m.able == 0 {
			m.wrong = m.quiet(&s)
			if m.wrong == "" && m.may == 0 {
				m.wrong = m.over(&s)
			}
			if m.wrong != "" {
				m.found = &modelFault{m.at, m.wrong}
			}
		}
	}
	return m.found
}

// to says that who may do this now, and that s is what comes of it.
func (m *modelSearch) to(who, does string, s modelState) {
	m.able++
	m.reach(who, does, s)
}

// outside is to for what need not come.
func (m *modelSearch) outside(who, does string, s modelState) {
	m.may++
	m.reach(who, does, s)
}

func (m *modelSearch) reach(who, does string, s modelState) {
	if m.found == nil {
		m.normal(&s)
		m.add(m.at, who, does, s)
		if m.wrong == "" {
			m.wrong = m.holds(&s)
		}
		if m.wrong != "" {
			// A step that leads to a known state may be wrong all the same.
			m.nodes = append(m.nodes, modelNode{m.at, who, does})
			m.found = &modelFault{int32(len(m.nodes) - 1), m.wrong}
		}
	}
	m.wrong = ""
}

func (m *modelSearch) add(parent int32, who, does string, s modelState) {
	if _, known := m.seen[s]; known {
		return
	}
	m.seen[s] = struct{}{}
	m.reached.note(&s)
	m.nodes = append(m.nodes, modelNode{parent, who, does})
	m.next = append(m.next, s)
}

// must notes that the step in the making is wrong unless holds.
func (m *modelSearch) must(holds bool, wrong string) {
	if !holds && m.wrong == "" {
		m.wrong = wrong
	}
}

// trace tells how the fault comes about, a step in each line.
func (m *modelSearch) trace(f *modelFault) string {
	var path []modelNode
	for i := f.node; m.nodes[i].parent >= 0; i = m.nodes[i].parent {
		path = append(path, m.nodes[i])
	}
	var b strings.Builder
	for i := range path {
		n := path[len(path)-1-i]
		fmt.Fprintf(&b, "%3d. %-12s %s\n", i+1, n.who, n.does)
	}
	fmt.Fprintf(&b, "     wrong: %s\n", f.wrong)
	return b.String()
}
