# docker build --build-arg VERSION=$(git describe --tags --always) --build-arg COMMIT=$(git rev-parse HEAD) -t tongcha .
# How to run it: docs/operations.md.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
ARG COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X main.builtVersion=${VERSION} -X main.builtCommit=${COMMIT}" \
      -o /out/tongcha ./cmd/tongcha \
 && mkdir -m 0700 /out/data

# No shell, no package manager, and a user without rights (65532). The base brings
# the roots that the SMS gateway's certificate is checked with.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/tongcha /usr/local/bin/tongcha
COPY --from=build --chown=65532:65532 /out/data /data
# Port 9090 is for probes and scrapers: don't publish it.
ENV TONGCHA_DATA=/data TONGCHA_METRICS=:9090
VOLUME /data
# REST, gRPC with mutual TLS, /metrics with /livez and /readyz. REST listens on
# loopback unless it has a certificate: TONGCHA_HTTP=:8080 with TONGCHA_HTTP_CERT and
# TONGCHA_HTTP_KEY.
EXPOSE 8080 8443 9090
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
  CMD ["/usr/local/bin/tongcha", "status", "--live"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/tongcha"]
CMD ["serve"]
