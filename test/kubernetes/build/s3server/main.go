// The versitygw S3 server over a folder, with one account. Its own command brings an IAM server, an Azure and a Lustre
// backend and its integration tests along, which would take more time to compile than the S3 server itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/metrics"
	"github.com/versity/versitygw/s3api"
	"github.com/versity/versitygw/s3api/middlewares"
	"github.com/versity/versitygw/s3event"
	"github.com/versity/versitygw/s3log"
)

func run() error {
	listen := flag.String("listen", ":7070", "address to serve on")
	data := flag.String("data", "", "folder whose folders are the buckets")
	metadata := flag.String("metadata", "", "folder for metadata, so that the file system needs no extended attributes")
	region := flag.String("region", "us-east-1", "region that clients must sign for")
	flag.Parse()

	root := middlewares.RootUserConfig{Access: os.Getenv("ROOT_ACCESS_KEY"), Secret: os.Getenv("ROOT_SECRET_KEY")}
	if root.Access == "" || root.Secret == "" || *data == "" || *metadata == "" {
		return fmt.Errorf("ROOT_ACCESS_KEY, ROOT_SECRET_KEY, -data and -metadata are all needed")
	}
	sidecar, err := meta.NewSideCar(*metadata)
	if err != nil {
		return err
	}
	store, err := posix.New(*data, sidecar, posix.PosixOpts{SideCarDir: *metadata, Concurrency: 256})
	if err != nil {
		return err
	}
	accounts, err := auth.New(&auth.Opts{
		RootAccount: auth.Account{Access: root.Access, Secret: root.Secret, Role: auth.RoleAdmin},
	})
	if err != nil {
		return err
	}
	logs, err := s3log.InitLogger(&s3log.LogConfig{})
	if err != nil {
		return err
	}
	measures, err := metrics.NewManager(context.Background(), metrics.Config{})
	if err != nil {
		return err
	}
	events, err := s3event.InitEventSender(&s3event.EventConfig{})
	if err != nil {
		return err
	}
	server, err := s3api.New(store, root, *region, accounts, logs.S3Logger, logs.AdminLogger, events, measures,
		s3api.WithConcurrencyLimiter(4096, 1024),
		s3api.WithMpMaxParts(10000),
		s3api.WithHealth("/health"),
		s3api.WithKeepAlive(),
		s3api.WithQuiet(),
	)
	if err != nil {
		return err
	}
	return server.ServeMultiPort([]string{*listen})
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
