package order

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"

	"github.com/strand-net/strand/coserver"
)

// Embedded starts a Redis server inside this process, in memory, and returns its address.
func Embedded() (addr string, stop func(), err error) {
	s, err := miniredis.Run()
	if err != nil {
		return "", nil, err
	}
	return s.Addr(), s.Close, nil
}

// store is a Redis server, and the keys of one run in it.
type store struct {
	network, addr string
	prefix        string
}

// lifetime is how long a key lasts that nobody deletes, in seconds.
const lifetime = 600

// patience is how long Redis may take.
const patience = 10 * time.Second

// openStore fails if the server does not answer.
func openStore(ctx context.Context, addr string) (*store, error) {
	s := &store{network: "tcp", addr: addr, prefix: "strand:order:" + rand.Text()[:8] + ":"}
	if strings.Contains(addr, "/") {
		s.network = "unix"
	}
	session, err := s.open(ctx)
	if err == nil {
		defer session.close()
		_, err = redis.DoContext(session.conn, ctx, "PING")
	}
	if err != nil {
		return nil, &RedisError{err}
	}
	return s, nil
}

// RedisError says that Redis cannot be used.
type RedisError struct{ err error }

func (e *RedisError) Error() string { return fmt.Sprintf("redis: %v", e.err) }

// Unwrap returns why.
func (e *RedisError) Unwrap() error { return e.err }

func (s *store) key(c *client) string { return fmt.Sprint(s.prefix, c.number) }

// clear deletes what a run has stored.
func (s *store) clear(keys []any) error {
	if len(keys) == 0 {
		return nil
	}
	session, err := s.open(context.Background())
	if err != nil {
		return err
	}
	defer session.close()
	_, err = session.conn.Do("DEL", keys...)
	return err
}

// session is a connection to the store, on the loop of the handler that opens it: whatever waits for Redis holds up nobody.
type session struct{ conn redis.Conn }

func (s *store) open(ctx context.Context) (*session, error) {
	var dialer coserver.Dialer
	conn, err := redis.DialContext(ctx, s.network, s.addr, redis.DialContextFunc(dialer.DialContext),
		redis.DialReadTimeout(patience), redis.DialWriteTimeout(patience))
	if err != nil {
		return nil, err
	}
	return &session{conn}, nil
}

func (s *session) close() { _ = s.conn.Close() }

func (s *session) set(key, value string) error {
	_, err := s.conn.Do("SET", key, value, "EX", lifetime)
	return err
}

// get returns Nil if there is nothing.
func (s *session) get(key string) (string, error) {
	value, err := redis.String(s.conn.Do("GET", key))
	if errors.Is(err, redis.ErrNil) {
		return Nil, nil
	}
	return value, err
}
