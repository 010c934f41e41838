package order

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// Style is how a server is written.
type Style string

// The styles.
const (
	StyleAsynchronous Style = "asynchronous"
	StyleSequential   Style = "sequential"
)

// Step is what happens for a client, at the server or at the client itself.
type Step string

// The steps.
const (
	Sent     Step = "sent"     // by the client
	Opened   Step = "opened"   // the server knows that the client has come
	Stored   Step = "stored"   // what the server keeps for the client
	Received Step = "received" // what the client has sent
	Fetched  Step = "fetched"  // what the server finds that it has kept, or Nil
	Closed   Step = "closed"   // the server knows that the client has gone
	Answered Step = "answered" // the client has its answer
)

// Nil is what is fetched if there is nothing.
const Nil = "nil"

// Event is one step.
type Event struct {
	At     time.Duration // since the first client came
	Client int           // from 1 on
	Step   Step
	Value  string
}

// Report is what has happened.
type Report struct {
	Style   Style
	Clients int
	Delay   time.Duration
	Events  []Event // in the order in which they happened
}

// inOrder is what a server does for a client, one after the other.
var inOrder = []Step{Opened, Stored, Received, Fetched, Closed}

// Broken lists how the order was broken: by a step that came too early, or by a client that was not told what had been stored for it.
func (r *Report) Broken() (broken []string) {
	for number := 1; number <= r.Clients; number++ {
		var steps []Step
		var stored, fetched, answered string
		for _, e := range r.Events {
			if e.Client != number {
				continue
			}
			switch e.Step {
			case Stored:
				stored = e.Value
			case Fetched:
				fetched = e.Value
			case Answered:
				answered = e.Value
			}
			if e.Step != Sent && e.Step != Answered {
				steps = append(steps, e.Step)
			}
		}
		if !slices.Equal(steps, inOrder) {
			broken = append(broken, fmt.Sprintf("client %d: %v, not %v", number, steps, inOrder))
		}
		if stored == "" || fetched != stored || answered != stored {
			broken = append(broken, fmt.Sprintf("client %d: stored %q, fetched %q, told %q", number, stored, fetched, answered))
		}
	}
	return broken
}

// ToldNil is how many clients were told that there is nothing.
func (r *Report) ToldNil() int {
	told := 0
	for _, e := range r.Events {
		if e.Step == Answered && e.Value == Nil {
			told++
		}
	}
	return told
}

// actors are who does each step, in each style.
var actors = map[Style]map[Step]string{
	StyleAsynchronous: {Opened: "OnOpen", Stored: "OnOpen", Received: "OnData", Fetched: "OnData", Closed: "OnClose"},
	StyleSequential:   {Opened: "handler", Stored: "handler", Received: "handler", Fetched: "handler", Closed: "handler"},
}

// Write tells of each client, one after the other, what happened and when.
func (r *Report) Write(w io.Writer) error {
	for number := 1; number <= r.Clients; number++ {
		if _, err := fmt.Fprintf(w, "   client %d\n", number); err != nil {
			return err
		}
		stored := false
		for _, e := range r.Events {
			if e.Client != number {
				continue
			}
			stored = stored || e.Step == Stored
			who := actors[r.Style][e.Step]
			if who == "" {
				who = "client"
			}
			if _, err := fmt.Fprintf(w, "%9.1f ms  %-8s %s\n", float64(e.At)/float64(time.Millisecond), who, r.told(e, stored)); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "   %s\n", r.summary())
	return err
}

func (r *Report) told(e Event, stored bool) string {
	switch e.Step {
	case Sent:
		return fmt.Sprintf("has connected, and sent %q", e.Value)
	case Opened:
		return fmt.Sprintf("begins: connects to Redis, and takes %v", r.Delay)
	case Stored:
		return fmt.Sprintf("SET %q", e.Value)
	case Received:
		return fmt.Sprintf("has received %q", e.Value)
	case Fetched:
		if e.Value == Nil && !stored {
			return "GET gives nil: it has not been stored yet"
		}
		return fmt.Sprintf("GET gives %q", e.Value)
	case Closed:
		return "knows that the client has gone"
	}
	return fmt.Sprintf("was told %q", e.Value)
}

func (r *Report) summary() string {
	told := r.ToldNil()
	switch {
	case r.Style == StyleAsynchronous && told > 0:
		return fmt.Sprintf("%d of %d clients were told nil: nothing makes the work of OnData wait for that of OnOpen.", told, r.Clients)
	case r.Style == StyleAsynchronous:
		return "No client was told nil this time: the work of OnOpen was over soon enough. Nothing promises that; try a longer --delay."
	case len(r.Broken()) == 0:
		return fmt.Sprintf("%d of %d clients were told their own value: a handler reads what was sent when it has stored, and not before.", r.Clients, r.Clients)
	}
	return fmt.Sprintf("The order was broken: %v", r.Broken())
}
