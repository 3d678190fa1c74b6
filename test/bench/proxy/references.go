package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Both keep connections to the backend, add the same headers as we do, and write no access log, as we do not.
const (
	nginxConfig = `worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr warn;
events { worker_connections 15000; }
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	keepalive_requests 1000000000;
	keepalive_timeout 120s;
	tcp_nodelay on;
	proxy_request_buffering off;
	proxy_max_temp_file_size 0;
	client_max_body_size 0;
	proxy_http_version 1.1;
	proxy_set_header Connection "";
	proxy_set_header Host $http_host;
	proxy_set_header X-Forwarded-For $remote_addr;
	proxy_set_header X-Forwarded-Proto $scheme;
	proxy_set_header X-Forwarded-Host $http_host;
	grpc_set_header X-Forwarded-For $remote_addr;
	grpc_set_header X-Forwarded-Proto $scheme;
	grpc_set_header X-Forwarded-Host $http_host;
	upstream backend { server %[2]s; keepalive 1024; keepalive_requests 1000000000; }
	upstream grpc { server %[3]s; keepalive 1024; keepalive_requests 1000000000; }
	server { listen %[4]s backlog=16384; location / { proxy_pass http://backend; } }
	server { listen %[5]s http2; http2_max_concurrent_streams 1000; location / { proxy_pass http://backend; } }
	server { listen %[6]s http2; http2_max_concurrent_streams 1000; location / { grpc_pass grpc://grpc; } }
	ssl_certificate %[8]s/tls.crt;
	ssl_certificate_key %[8]s/tls.key;
	ssl_protocols TLSv1.2 TLSv1.3;
	ssl_session_cache shared:tls:10m;
	server { listen %[7]s ssl http2 backlog=16384; http2_max_concurrent_streams 1000; location / { proxy_pass http://backend; } }
}
`
	socketConfig = `worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr warn;
events { worker_connections 15000; }
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	tcp_nodelay on;
	proxy_http_version 1.1;
	proxy_set_header Connection upgrade;
	proxy_set_header Upgrade $http_upgrade;
	proxy_set_header Host $http_host;
	proxy_set_header X-Forwarded-For $remote_addr;
	server { listen %[3]s backlog=16384; location / { proxy_pass http://%[2]s; } }
}
`
	haproxyConfig = `global
	no strict-limits
	maxconn 15000
defaults
	mode http
	timeout connect 5s
	timeout client 120s
	timeout server 120s
	timeout http-keep-alive 120s
	http-reuse always
frontend front
	bind %[2]s backlog 16384
	bind %[3]s proto h2
	option forwardfor
	http-request set-header X-Forwarded-Proto http
	http-request set-header X-Forwarded-Host %%[req.hdr(host)]
	default_backend back
backend back
	server backend %[1]s
`
)

func (b *bench) startNginx(ctx context.Context) (*process, error) {
	at, err := freeAddresses(4)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "nginx-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, b.backend.address, b.grpcBackend.address, at[0], at[1], at[2], at[3], b.certificate()), 0o600); err != nil {
		return nil, err
	}
	p, err := startServer(ctx, nginx, at[0], command(ctx, "nginx", "-p", dir, "-c", config, "-e", "stderr", "-g", "daemon off;"))
	if err == nil {
		p.http2, p.grpc, p.tls = at[1], at[2], at[3]
	}
	return p, err
}

// startSocketNginx starts one that forwards WebSockets.
func (b *bench) startSocketNginx(ctx context.Context, backend string) (*process, error) {
	at, err := freeAddresses(1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "nginx-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, socketConfig, dir, backend, at[0]), 0o600); err != nil {
		return nil, err
	}
	return startServer(ctx, nginx, at[0], command(ctx, "nginx", "-p", dir, "-c", config, "-e", "stderr", "-g", "daemon off;"))
}

func (b *bench) startHAProxy(ctx context.Context) (*process, error) {
	at, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(b.dir, "haproxy.cfg")
	if err := os.WriteFile(config, fmt.Appendf(nil, haproxyConfig, b.backend.address, at[0], at[1]), 0o600); err != nil {
		return nil, err
	}
	p, err := startServer(ctx, haproxy, at[0], command(ctx, "haproxy", "-q", "-db", "-f", config))
	if err == nil {
		p.http2 = at[1]
	}
	return p, err
}
