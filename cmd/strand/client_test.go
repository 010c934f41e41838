package main_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// client is a connection to an echo. What it sends is like no other's, so that another's bytes show.
type client struct {
	*net.TCPConn
	random *rand.ChaCha8
}

var errWrong = errors.New("wrong bytes came back")

func dialClient(addr string, seed int) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	c := &client{TCPConn: conn.(*net.TCPConn)}
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], uint64(seed))
	c.random = rand.NewChaCha8(key)
	return c, c.SetDeadline(time.Now().Add(patience))
}

func (c *client) bytes(size int) []byte {
	p := make([]byte, size)
	c.random.Read(p)
	return p
}

// exchange sends size bytes and expects the same back.
func (c *client) exchange(size int) error {
	data := c.bytes(size)
	if _, err := c.Write(data); err != nil {
		return err
	}
	back := make([]byte, size)
	n, err := io.ReadFull(c, back)
	if !bytes.Equal(back[:n], data[:n]) {
		return errWrong
	}
	return err
}

// visit is a short connection: it makes some exchanges and ends, by a reset if cut.
func visit(addr string, seed, exchanges int, cut bool) error {
	c, err := dialClient(addr, seed)
	if err != nil {
		return err
	}
	defer c.Close()
	for range exchanges {
		if err := c.exchange(100); err != nil {
			return err
		}
	}
	if cut {
		return c.SetLinger(0)
	}
	return nil
}
