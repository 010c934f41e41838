package bench

import (
	"bytes"
	"errors"
	"fmt"
)

// The lines in a document between which its table stands.
const (
	tableBegin = "<!-- table of strand bench -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

var errNoPlace = errors.New("it has no place for a table: a line " + tableBegin[:len(tableBegin)-1] + " and, after it, " + tableEnd[:len(tableEnd)-1])

// InsertTable puts the table of r into a document in Markdown, instead of what is between the two lines that are for it.
func (r *Report) InsertTable(document []byte) ([]byte, error) {
	begin := bytes.Index(document, []byte(tableBegin))
	if begin < 0 {
		return nil, errNoPlace
	}
	begin += len(tableBegin)
	end := bytes.Index(document[begin:], []byte(tableEnd))
	if end < 0 {
		return nil, errNoPlace
	}
	var out bytes.Buffer
	out.Write(document[:begin])
	fmt.Fprintln(&out, "```")
	if err := r.WriteTable(&out); err != nil {
		return nil, err
	}
	fmt.Fprintln(&out, "```")
	out.Write(document[begin+end:])
	return out.Bytes(), nil
}
