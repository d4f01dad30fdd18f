package rpc

import "google.golang.org/grpc"

// Inner makes a gRPC server of what Local calls without one: the measure that
// Local is held against.
func (s *Server) Inner() *grpc.Server {
	g := grpc.NewServer(s.options(true, 1<<20)...)
	s.register(g)
	return g
}
