package result

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Condition is an objective that has been read: "p99<5ms", "rate>=0.99*target". docs/load-objectives.md has the grammar.
type Condition struct {
	text     string
	quantity quantity
	operator string
	number   float64
	unit     unit
	ofTarget bool // number is a share of the planned rate
}

// unit is what a number is in: value is that of one, in the quantity's base unit.
type unit struct {
	name  string
	value float64
}

var units = map[dimension][]unit{
	duration: {{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}},
	size:     {{"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}},
}

// dimension is what a quantity measures.
type dimension string

const (
	plain    dimension = "number"
	rate     dimension = "rate" // operations a second, which may be compared with the target
	duration dimension = "duration"
	size     dimension = "size"
)

// String returns the condition as it was given.
func (c *Condition) String() string { return c.text }

// ParseCondition reads one. The error names the place, counted in characters from 1, and what should be there.
func ParseCondition(text string) (*Condition, error) {
	p := parser{text: text}
	c, err := p.condition()
	if err != nil {
		return nil, fmt.Errorf("objective %q: at %d: %w", text, 1+utf8.RuneCountInString(text[:p.at]), err)
	}
	return c, nil
}

// ParseConditions reads several, and stops at the first that is wrong.
func ParseConditions(texts []string) ([]*Condition, error) {
	var all []*Condition
	for _, text := range texts {
		c, err := ParseCondition(text)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// parser is at the place that an error is about.
type parser struct {
	text string
	at   int
}

func (p *parser) condition() (*Condition, error) {
	c := &Condition{text: p.text}
	p.skipSpace()
	name := p.take(func(r rune) bool { return !strings.ContainsRune("<>=! \t*", r) })
	if name == "" {
		return nil, fmt.Errorf("a quantity is missing, such as p99")
	}
	var err error
	if c.quantity, err = parseQuantity(name); err != nil {
		p.at -= len(name)
		return nil, err
	}
	p.skipSpace()
	if c.operator = p.operator(); c.operator == "" {
		return nil, fmt.Errorf("one of < <= > >= == != is missing")
	}
	p.skipSpace()
	if err := p.right(c); err != nil {
		return nil, err
	}
	p.skipSpace()
	if rest := p.text[p.at:]; rest != "" {
		return nil, fmt.Errorf("%q is too much", rest)
	}
	return c, nil
}

func (p *parser) operator() string {
	for _, operator := range []string{"<=", ">=", "==", "!=", "<", ">"} { // the longer ones first
		if strings.HasPrefix(p.text[p.at:], operator) {
			p.at += len(operator)
			return operator
		}
	}
	return ""
}

// right reads what stands right of the operator: a number with its unit, or a share of the target.
func (p *parser) right(c *Condition) error {
	c.unit.value = 1
	if p.target(c) {
		c.number = 1
		return p.checkTarget(c)
	}
	begin := p.at
	number := p.number()
	value, err := strconv.ParseFloat(number, 64)
	if err != nil {
		p.at = begin
		return fmt.Errorf("a number is missing")
	}
	c.number = value
	p.skipSpace()
	if strings.HasPrefix(p.text[p.at:], "*") {
		p.at++
		p.skipSpace()
		if !p.target(c) {
			return fmt.Errorf("target is missing")
		}
		return p.checkTarget(c)
	}
	return p.unit(c)
}

func (p *parser) target(c *Condition) bool {
	begin := p.at
	c.ofTarget = p.take(isLetter) == "target"
	if !c.ofTarget {
		p.at = begin
	}
	return c.ofTarget
}

func (p *parser) checkTarget(c *Condition) error {
	if c.quantity.dimension != rate {
		p.at -= len("target")
		return fmt.Errorf("only rate goes with target, not %s", c.quantity.name)
	}
	return nil
}

// number takes what may be one: digits, a point, an exponent.
func (p *parser) number() string {
	begin := p.at
	p.take(func(r rune) bool { return isDigit(r) || r == '.' })
	mantissa := p.at
	if rest := p.text[p.at:]; mantissa > begin && (strings.HasPrefix(rest, "e") || strings.HasPrefix(rest, "E")) {
		p.at++
		if rest = p.text[p.at:]; strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-") {
			p.at++
		}
		if p.take(isDigit) == "" {
			p.at = mantissa
		}
	}
	return p.text[begin:p.at]
}

func (p *parser) unit(c *Condition) error {
	begin := p.at
	name := p.take(isLetter)
	known := units[c.quantity.dimension]
	if i := slices.IndexFunc(known, func(u unit) bool { return u.name == name }); i >= 0 {
		c.unit = known[i]
		return nil
	}
	p.at = begin
	var names []string
	for _, u := range known {
		names = append(names, u.name)
	}
	switch {
	case name == "" && known == nil:
		return nil
	case name == "":
		return fmt.Errorf("a unit is missing, one of %s", strings.Join(names, " "))
	case known == nil:
		return fmt.Errorf("%s is a number without a unit, not in %q", c.quantity.name, name)
	}
	return fmt.Errorf("%q is no unit of %s: %s", name, c.quantity.name, strings.Join(names, " "))
}

func (p *parser) skipSpace() { p.take(func(r rune) bool { return r == ' ' || r == '\t' }) }

// take takes the characters that are wanted, as many as come here.
func (p *parser) take(wanted func(rune) bool) string {
	rest := p.text[p.at:]
	n := strings.IndexFunc(rest, func(r rune) bool { return !wanted(r) })
	if n < 0 {
		n = len(rest)
	}
	p.at += n
	return rest[:n]
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == 'µ' }

// Evaluate says what the condition comes to in r.
func (c *Condition) Evaluate(r *Run) Objective {
	o := Objective{Expression: c.text}
	if c.ofTarget && r.Staged() {
		c.evaluateStages(r, &o)
		return o
	}
	value, unknown := c.quantity.of(r)
	limit := c.number
	if c.ofTarget {
		limit *= r.Target
		if unknown == "" && r.Target == 0 {
			unknown = "the run had no target"
		}
	}
	o.Value, o.Reason = value/c.unit.value, unknown
	o.OK = unknown == "" && c.holds(o.Value, limit)
	return o
}

// evaluateStages is for a run whose target changes: each window must keep the condition with its own. The value is that of the first which does not, or of the one
// that came least near to its target.
func (c *Condition) evaluateStages(r *Run, o *Objective) {
	o.OK = true
	least := math.Inf(1)
	for _, w := range r.Windows {
		if w.Seconds <= 0 {
			o.OK, o.Reason = false, "there was no window"
			return
		}
		rate := float64(w.Operations) / w.Seconds
		if !c.holds(rate, c.number*w.Target) {
			o.Value, o.OK = rate, false
			return
		}
		if share := rate / w.Target; share < least {
			least, o.Value = share, rate
		}
	}
}

// holds compares.
func (c *Condition) holds(value, limit float64) bool {
	switch c.operator {
	case "<":
		return value < limit
	case "<=":
		return value <= limit
	case ">":
		return value > limit
	case ">=":
		return value >= limit
	case "==":
		return value == limit
	}
	return value != limit
}

// Staged reports whether the windows have targets that differ.
func (r *Run) Staged() bool {
	return slices.ContainsFunc(r.Windows, func(w Window) bool { return w.Target != r.Windows[0].Target })
}

// Judge sets r.SLO to what the conditions come to in r.
func (r *Run) Judge(conditions []*Condition) {
	r.SLO = nil
	for _, c := range conditions {
		r.SLO = append(r.SLO, c.Evaluate(r))
	}
}

// Demand adds what a further condition comes to, unless r.SLO has the same one already.
func (r *Run) Demand(c *Condition) {
	if !slices.ContainsFunc(r.SLO, func(o Objective) bool { return o.Expression == c.text }) {
		r.SLO = append(r.SLO, c.Evaluate(r))
	}
}

// operationNames are those of r, sorted.
func (r *Run) operationNames() []string { return slices.Sorted(maps.Keys(r.Operations)) }
