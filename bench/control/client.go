package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes: whatever is at the address may be another program.
const maxAnswer = 64 << 20

// Client asks one server. Its methods are safe from any goroutine.
type Client struct {
	address string
	http    http.Client
}

// NewClient returns a client of the server at "unix:PATH" or "HOST:PORT". It connects when it is asked something.
func NewClient(address string) (*Client, error) {
	network, rest, err := SplitAddress(address)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	c := &Client{address: address}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, rest)
		},
		MaxIdleConnsPerHost: 1, // the server has one more goroutine for each
	}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// State asks the server for its state.
func (c *Client) State(ctx context.Context) (State, error) {
	var state State
	text, err := c.ask(ctx, http.MethodGet, "/state")
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if err == nil && state.PID == 0 {
		err = fmt.Errorf("%q has no pid", text)
	}
	if err != nil {
		return State{}, fmt.Errorf("control: state of the server at %s: %w", c.address, err)
	}
	return state, nil
}

// Profile returns a CPU profile of the server over that time, which begins now, in the format of pprof.
func (c *Client) Profile(ctx context.Context, length time.Duration) ([]byte, error) {
	profile, err := c.ask(ctx, http.MethodGet, "/profile?for="+url.QueryEscape(length.String()))
	if err != nil {
		return nil, fmt.Errorf("control: profile of the server at %s: %w", c.address, err)
	}
	return profile, nil
}

// EndProfile ends the profile that is being taken, if there is one: Profile returns what there is.
func (c *Client) EndProfile(ctx context.Context) error {
	if _, err := c.ask(ctx, http.MethodDelete, "/profile"); err != nil {
		return fmt.Errorf("control: end of the profile of the server at %s: %w", c.address, err)
	}
	return nil
}

func (c *Client) ask(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://server"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, err.(*url.Error).Err // without the made-up URL
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNoContent {
		return nil, fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(bytes.ToValidUTF8(text[:min(len(text), 200)], nil))))
	}
	return text, nil
}
