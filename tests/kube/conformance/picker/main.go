// In the place of an endpoint picker's image: it answers what a gRPC probe asks, and picks nothing.
package main

import (
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	health_v1 "google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	port := "9003"
	for i, word := range os.Args[1 : len(os.Args)-1] {
		if word == "--grpc-health-port" {
			port = os.Args[i+2]
		}
	}
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	status := health.NewServer()
	status.SetServingStatus("inference-extension", health_v1.HealthCheckResponse_SERVING)
	server := grpc.NewServer()
	health_v1.RegisterHealthServer(server, status)
	log.Fatal(server.Serve(listener))
}
