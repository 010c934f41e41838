package compat_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// sshServer serves connections until its listener is closed.
type sshServer struct {
	config *ssh.ServerConfig
	dial   func(ctx context.Context, network, address string) (net.Conn, error) // for direct-tcpip

	running sync.WaitGroup
}

// serveSSH runs a server with a key of its own, and returns what a client of it needs.
func serveSSH(t *testing.T, s side) *ssh.ClientConfig {
	t.Helper()
	hostKey, userKey := newSSHKey(t), newSSHKey(t)
	allowed := userKey.PublicKey().Marshal()
	server := &sshServer{dial: s.dial, config: &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !bytes.Equal(key.Marshal(), allowed) {
				return nil, fmt.Errorf("unknown key")
			}
			return nil, nil
		},
	}}
	server.config.AddHostKey(hostKey)
	server.running.Go(func() {
		for {
			c, err := s.ln.Accept()
			if err != nil {
				return
			}
			server.running.Go(func() { server.serve(c) })
		}
	})
	t.Cleanup(func() {
		s.ln.Close()
		server.running.Wait()
	})
	return &ssh.ClientConfig{
		User:            "user",
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(userKey)},
		HostKeyCallback: ssh.FixedHostKey(hostKey.PublicKey()),
	}
}

func newSSHKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	return signer
}

func (s *sshServer) serve(c net.Conn) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	s.running.Go(func() { ssh.DiscardRequests(requests) })
	for offered := range channels {
		switch offered.ChannelType() {
		case "session":
			s.running.Go(func() { session(offered) })
		case "direct-tcpip":
			s.running.Go(func() { s.forward(offered) })
		default:
			offered.Reject(ssh.UnknownChannelType, offered.ChannelType())
		}
	}
}

// session runs the one command that there is: it echoes its input, and says how much it was with its exit status.
func session(offered ssh.NewChannel) {
	channel, requests, err := offered.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	for request := range requests {
		if request.Type != "exec" {
			request.Reply(false, nil)
			continue
		}
		request.Reply(true, nil)
		go ssh.DiscardRequests(requests) // ends with the channel
		n, err := io.Copy(channel, channel)
		fmt.Fprintf(channel.Stderr(), "%d bytes, %v", n, err)
		channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{7}))
		return
	}
}

// forward connects a channel with the address that it names (RFC 4254, 7.2).
func (s *sshServer) forward(offered ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(offered.ExtraData(), &to); err != nil {
		offered.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	target, err := s.dial(context.Background(), "tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
	if err != nil {
		offered.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer target.Close()
	channel, requests, err := offered.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	s.running.Go(func() { ssh.DiscardRequests(requests) })
	s.running.Go(func() {
		io.Copy(target, channel)
		target.(interface{ CloseWrite() error }).CloseWrite()
	})
	io.Copy(channel, target)
	channel.CloseWrite()
}

func dialSSH(t *testing.T, s side, config *ssh.ClientConfig) *ssh.Client {
	t.Helper()
	c, channels, requests, err := ssh.NewClientConn(s.connect(t), s.addr(), config)
	require.NoError(t, err)
	client := ssh.NewClient(c, channels, requests)
	t.Cleanup(func() {
		client.Close()
		client.Wait()
	})
	return client
}

// Commands run beside each other on one connection, each with its input, output, error output and exit status.
func TestSSHExec(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		client := dialSSH(t, s, serveSSH(t, s))
		const size = 4 << 20
		want := digestOf(t, size)
		together(t, 4, func(int) error {
			session, err := client.NewSession()
			if err != nil {
				return err
			}
			defer session.Close()
			var complaints bytes.Buffer
			session.Stdin, session.Stderr = generated(size), &complaints
			output, err := session.StdoutPipe()
			if err != nil {
				return err
			}
			if err := session.Start("echo"); err != nil {
				return err
			}
			got, err := digest(output)
			if err != nil {
				return err
			}
			if exit, ok := session.Wait().(*ssh.ExitError); !ok || exit.ExitStatus() != 7 {
				return fmt.Errorf("ended with %v", exit)
			}
			if got != want || complaints.String() != fmt.Sprintf("%d bytes, <nil>", size) {
				return fmt.Errorf("got %s; %s", got, &complaints)
			}
			return nil
		})
	})
}

// A stream goes through the server to a third party and back, and so does its end.
func TestSSHForward(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		target, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer target.Close()
		heard := make(chan string, 1)
		go func() {
			c, err := target.Accept()
			if err != nil {
				heard <- err.Error()
				return
			}
			defer c.Close()
			hash, err := digest(io.TeeReader(c, c))
			heard <- fmt.Sprint(hash, ", ", err)
		}()
		client := dialSSH(t, s, serveSSH(t, s))
		c, err := client.DialContext(t.Context(), "tcp", target.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		const size = 8 << 20
		sent := make(chan error, 1)
		go func() {
			_, err := io.Copy(c, generated(size))
			c.(interface{ CloseWrite() error }).CloseWrite()
			sent <- err
		}()
		got, err := digest(c)
		require.NoError(t, err)
		require.NoError(t, receive(t, sent))
		require.Equal(t, digestOf(t, size), got)
		require.Equal(t, got+", <nil>", receive(t, heard))
	})
}

// A client with a wrong key is refused, and a channel of a type that nobody knows, and what comes after the end.
func TestSSHRefusals(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		config := serveSSH(t, s)
		stranger := *config
		stranger.Auth = []ssh.AuthMethod{ssh.PublicKeys(newSSHKey(t))}
		_, _, _, err := ssh.NewClientConn(s.connect(t), s.addr(), &stranger)
		require.ErrorContains(t, err, "unable to authenticate")

		client := dialSSH(t, s, config)
		_, _, err = client.OpenChannel("x11", nil)
		var refused *ssh.OpenChannelError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, ssh.UnknownChannelType, refused.Reason)
		require.NoError(t, client.Close())
		_, err = client.NewSession()
		require.Error(t, err)
	})
}
