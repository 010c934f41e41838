package compat_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

// testService answers as grpc's own interoperability service does, as far as the tests need it.
type testService struct {
	pb.UnimplementedTestServiceServer

	arrived   chan struct{} // FullDuplexCall has begun
	cancelled chan error    // by what a call of StreamingOutputCall without an end was ended
	opened    atomic.Int64  // connections
}

func payload(body []byte) *pb.Payload { return &pb.Payload{Body: body} }

// UnaryCall sends back what it gets, unless it is told to fail.
func (*testService) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if s := r.GetResponseStatus(); s != nil {
		return nil, status.Error(codes.Code(s.GetCode()), s.GetMessage())
	}
	if r.GetFillUsername() { // as a request that takes too long
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &pb.SimpleResponse{Payload: r.GetPayload()}, nil
}

// StreamingOutputCall sends a message of each size asked for; without any it sends until it is cancelled.
func (s *testService) StreamingOutputCall(r *pb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	for i, p := range r.GetResponseParameters() {
		if err := stream.Send(&pb.StreamingOutputCallResponse{Payload: payload(message(i, int(p.GetSize())))}); err != nil {
			return err
		}
	}
	if len(r.GetResponseParameters()) > 0 {
		return nil
	}
	for {
		if err := stream.Send(&pb.StreamingOutputCallResponse{Payload: payload(message(0, 1000))}); err != nil {
			s.cancelled <- stream.Context().Err()
			return err
		}
	}
}

// StreamingInputCall tells the size of all that it got.
func (*testService) StreamingInputCall(stream grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
	for i, size := 0, 0; ; i++ {
		r, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(size)})
		}
		if err != nil {
			return err
		}
		got := r.GetPayload().GetBody()
		if string(got) != string(message(i, len(got))) {
			return status.Errorf(codes.DataLoss, "message %d is another", i)
		}
		size += len(got)
	}
}

// FullDuplexCall sends each message back.
func (s *testService) FullDuplexCall(stream grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	s.arrived <- struct{}{}
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&pb.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err
		}
	}
}

// message is the i-th message of a stream, of that size.
func message(i, size int) []byte {
	m := make([]byte, size)
	for j := range m {
		m[j] = byte(i + j)
	}
	return m
}

// grpcServer is a running server with its client.
type grpcServer struct {
	*grpc.Server
	side
	service *testService
	client  pb.TestServiceClient
	served  chan error
}

// countingListener counts what it accepts.
type countingListener struct {
	net.Listener
	count *atomic.Int64
}

func (ln countingListener) Accept() (net.Conn, error) {
	c, err := ln.Listener.Accept()
	if err == nil {
		ln.count.Add(1)
	}
	return c, err
}

// onEachGRPC runs test with a server and a client of it, in the clear and with TLS, on each subject.
func onEachGRPC(t *testing.T, test func(t *testing.T, g *grpcServer)) {
	serverConfig, clientConfig := tlsConfigs(t)
	for _, c := range []struct {
		name           string
		server, client credentials.TransportCredentials
	}{
		{"clear", insecure.NewCredentials(), insecure.NewCredentials()},
		{"TLS", tlsCredentials(serverConfig), tlsCredentials(clientConfig)},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEachSubject(t, func(t *testing.T, s side) {
				g := &grpcServer{
					Server:  grpc.NewServer(grpc.Creds(c.server)),
					side:    s,
					service: &testService{arrived: make(chan struct{}, 100), cancelled: make(chan error, 1)},
					served:  make(chan error, 1),
				}
				pb.RegisterTestServiceServer(g, g.service)
				go func() { g.served <- g.Serve(countingListener{s.ln, &g.service.opened}) }()
				t.Cleanup(g.Stop)
				connection, err := grpc.NewClient("passthrough:///"+s.addr(), grpc.WithTransportCredentials(c.client),
					grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return s.dial(ctx, "tcp", addr) }))
				require.NoError(t, err)
				t.Cleanup(func() { connection.Close() })
				g.client = pb.NewTestServiceClient(connection)
				test(t, g)
			})
		})
	}
}

func tlsCredentials(config *tls.Config) credentials.TransportCredentials {
	return credentials.NewTLS(config.Clone())
}

func TestGRPCUnary(t *testing.T) {
	onEachGRPC(t, func(t *testing.T, g *grpcServer) {
		together(t, 50, func(i int) error {
			for j := range 8 {
				sent := message(i, 1+j*3000)
				r, err := g.client.UnaryCall(t.Context(), &pb.SimpleRequest{Payload: payload(sent)})
				if err != nil {
					return err
				}
				if string(r.GetPayload().GetBody()) != string(sent) {
					return fmt.Errorf("sent %d bytes, got %d others", len(sent), len(r.GetPayload().GetBody()))
				}
			}
			return nil
		})
		_, err := g.client.UnaryCall(t.Context(), &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: int32(codes.OutOfRange), Message: "as told"}})
		require.Equal(t, codes.OutOfRange, status.Code(err))
		require.ErrorContains(t, err, "as told")
		require.EqualValues(t, 1, g.service.opened.Load(), "all on one connection")
	})
}

func TestGRPCServerStreaming(t *testing.T) {
	onEachGRPC(t, func(t *testing.T, g *grpcServer) {
		request := new(pb.StreamingOutputCallRequest)
		for i := range 300 {
			request.ResponseParameters = append(request.ResponseParameters, &pb.ResponseParameters{Size: int32(i * 100)})
		}
		stream, err := g.client.StreamingOutputCall(t.Context(), request)
		require.NoError(t, err)
		for i := range 300 {
			r, err := stream.Recv()
			require.NoError(t, err)
			require.Equal(t, string(message(i, i*100)), string(r.GetPayload().GetBody()))
		}
		_, err = stream.Recv()
		require.Equal(t, io.EOF, err)
	})
}

func TestGRPCClientStreaming(t *testing.T) {
	onEachGRPC(t, func(t *testing.T, g *grpcServer) {
		stream, err := g.client.StreamingInputCall(t.Context())
		require.NoError(t, err)
		size := 0
		for i := range 300 {
			require.NoError(t, stream.Send(&pb.StreamingInputCallRequest{Payload: payload(message(i, i*100))}))
			size += i * 100
		}
		r, err := stream.CloseAndRecv()
		require.NoError(t, err)
		require.EqualValues(t, size, r.GetAggregatedPayloadSize())
	})
}

// Messages go both ways at once, on many streams.
func TestGRPCBidirectional(t *testing.T) {
	onEachGRPC(t, func(t *testing.T, g *grpcServer) {
		together(t, 10, func(i int) error {
			stream, err := g.client.FullDuplexCall(t.Context())
			if err != nil {
				return err
			}
			sent := make(chan error, 1)
			const messages = 100
			go func() {
				var err error
				for j := 0; j < messages && err == nil; j++ {
					err = stream.Send(&pb.StreamingOutputCallRequest{Payload: payload(message(i+j, j*50))})
				}
				sent <- errors.Join(err, stream.CloseSend())
			}()
			for j := range messages {
				r, err := stream.Recv()
				if err != nil {
					return err
				}
				if string(r.GetPayload().GetBody()) != string(message(i+j, j*50)) {
					return fmt.Errorf("message %d is another", j)
				}
			}
			if _, err := stream.Recv(); err != io.EOF {
				return fmt.Errorf("after the last: %v", err)
			}
			return <-sent
		})
		require.EqualValues(t, 1, g.service.opened.Load(), "all on one connection")
	})
}

// A call that is cancelled ends on both sides, and the connection goes on.
func TestGRPCCancel(t *testing.T) {
	onEachGRPC(t, func(t *testing.T, g *grpcServer) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := g.client.StreamingOutputCall(ctx, new(pb.StreamingOutputCallRequest))
		require.NoError(t, err)
		for range 100 {
			_, err := stream.Recv()
			require.NoError(t, err)
		}
		cancel()
		for err == nil {
			_, err = stream.Recv()
		}
		require.Equal(t, codes.Canceled, status.Code(err))
		require.ErrorIs(t, receive(t, g.service.cancelled), context.Canceled)
		requireUnary(t, g)
		require.EqualValues(t, 1, g.service.opened.Load())
	})
}

func requireUnary(t *testing.T, g *grpcServer) {
	t.Helper()
	r, err := g.client.UnaryCall(t.Context(), &pb.SimpleRequest{Payload: payload([]byte("well"))})
	require.NoError(t, err)
	require.Equal(t, "well", string(r.GetPayload().GetBody()))
}

func TestGRPCDeadline(t *testing.T) {
	onEachGRPC(t, func(t *testing.T, g *grpcServer) {
		requireUnary(t, g)
		const limit = 50 * time.Millisecond
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := g.client.UnaryCall(ctx, &pb.SimpleRequest{FillUsername: true})
		require.Equal(t, codes.DeadlineExceeded, status.Code(err), "%v", err)
		require.GreaterOrEqual(t, time.Since(begun), limit)
		requireUnary(t, g)
		require.EqualValues(t, 1, g.service.opened.Load())
	})
}

// GracefulStop refuses new clients and waits for the calls that have begun.
func TestGRPCGracefulStop(t *testing.T) {
	onEachGRPC(t, func(t *testing.T, g *grpcServer) {
		stream, err := g.client.FullDuplexCall(t.Context())
		require.NoError(t, err)
		receive(t, g.service.arrived)
		stopped := make(chan struct{})
		go func() {
			g.GracefulStop()
			close(stopped)
		}()
		g.refused(t)
		for i := range 50 {
			require.NoError(t, stream.Send(&pb.StreamingOutputCallRequest{Payload: payload(message(i, 1000))}))
			r, err := stream.Recv()
			require.NoError(t, err)
			require.Equal(t, string(message(i, 1000)), string(r.GetPayload().GetBody()))
		}
		select {
		case <-stopped:
			require.Fail(t, "GracefulStop has returned before the call has")
		default:
		}
		require.NoError(t, stream.CloseSend())
		_, err = stream.Recv()
		require.Equal(t, io.EOF, err)
		receive(t, stopped)
		require.NoError(t, receive(t, g.served))
		_, err = g.client.UnaryCall(t.Context(), &pb.SimpleRequest{Payload: payload([]byte("late"))})
		require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	})
}

// Stop ends the calls that run.
func TestGRPCStop(t *testing.T) {
	onEachGRPC(t, func(t *testing.T, g *grpcServer) {
		stream, err := g.client.FullDuplexCall(t.Context())
		require.NoError(t, err)
		receive(t, g.service.arrived)
		g.Stop()
		_, err = stream.Recv()
		require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
		require.NoError(t, receive(t, g.served))
	})
}
