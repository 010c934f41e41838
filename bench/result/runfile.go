package result

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// Limits of what ReadFile reads: a file of a day's run is below them, and what is read takes about as much memory as the file, but for
// the histograms of the operations, which take 600 KB for each.
const (
	maxFile       = 512 << 20
	maxOperations = 256
)

// WriteFile writes r as JSON, whole or not at all.
func (r *Run) WriteFile(path string) error { return WriteJSON(path, r) }

// ReadFile reads what WriteFile has written. An error says what is wrong with the file: it is cut short, it is of another schema, it has
// been changed. In a run that it returns no histogram is nil.
func ReadFile(path string) (*Run, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: it is larger than %d MiB", path, maxFile>>20)
	}
	run, err := parseRun(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return run, nil
}

func parseRun(text []byte) (*Run, error) {
	// The version comes first: of another schema nothing else need be as it is here.
	var outline struct {
		SchemaVersion *int                       `json:"schema_version"`
		Operations    map[string]json.RawMessage `json:"operations"`
	}
	err := parse(text, &outline)
	if v := outline.SchemaVersion; v != nil && *v != SchemaVersion {
		return nil, fmt.Errorf("schema version %d, and only %d can be read", *v, SchemaVersion)
	}
	if err != nil {
		return nil, err
	}
	if outline.SchemaVersion == nil {
		return nil, errors.New("it has no schema_version: it is no result of a load run")
	}
	if len(outline.Operations) > maxOperations {
		return nil, fmt.Errorf("%d operations are more than %d", len(outline.Operations), maxOperations)
	}
	run := new(Run)
	if err := parse(text, run); err != nil {
		return nil, err
	}
	return run, run.complete()
}

// parse reads the one JSON value that text is to be.
func parse(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	switch err := decoder.Decode(into); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("it is cut short, after %d bytes", len(text))
	case err != nil:
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("it goes on after its end, at byte %d", decoder.InputOffset())
	}
	return nil
}

// complete checks what must be there, and puts empty histograms where there are none.
func (r *Run) complete() error {
	if hasConfig := len(r.Config) > 0 && string(r.Config) != "null"; hasConfig {
		canonical, hash, err := hashConfig(r.Config)
		if err != nil {
			return err
		}
		r.Config = canonical
		if hash != r.ConfigHash {
			return fmt.Errorf("config_hash %q does not belong to config, whose hash is %s", r.ConfigHash, hash)
		}
	}
	if s := r.Shard; s.Of < 0 || s.Index < 0 || s.Index > s.Of || s.Index == 0 && s.Of > 0 {
		return fmt.Errorf("shard %d of %d does not exist", s.Index, s.Of)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Operations)) {
		if r.Operations[name] == nil {
			return fmt.Errorf("operations: %q is null", name)
		}
		for _, histogram := range r.Operations[name].histograms() {
			fill(histogram.of)
		}
	}
	fill(&r.Connect.Latency)
	return nil
}

func fill(h **Histogram) {
	if *h == nil {
		*h = NewHistogram()
	}
}

// kind is one of the three histograms of an operation.
type kind struct {
	name string
	of   **Histogram
}

// Names of the kinds of histograms of an operation, in logs and objectives.
const (
	KindResponse = "response"
	KindService  = "service"
	KindLag      = "lag"
)

func (o *Operation) histograms() [3]kind {
	return [3]kind{{KindResponse, &o.Response}, {KindService, &o.Service}, {KindLag, &o.Lag}}
}

// HashConfig is the hash of a configuration that goes into Run.ConfigHash: SHA-256, in hexadecimal, of the JSON as json.Marshal writes it:
// without insignificant space, and with <, > and & escaped.
func HashConfig(config json.RawMessage) (string, error) {
	_, hash, err := hashConfig(config)
	return hash, err
}

func hashConfig(config json.RawMessage) (canonical json.RawMessage, hash string, err error) {
	canonical, err = json.Marshal(config)
	if err != nil {
		return nil, "", fmt.Errorf("config: %w", err)
	}
	sum := sha256.Sum256(canonical)
	return canonical, hex.EncodeToString(sum[:]), nil
}
