// Command raft-snapshot lets HashiCorp's own archive code judge ours, and make archives for ours to judge.
//
//	verify FILE...      one JSON line per file: {"file", "error", "meta"}
//	write STATE OUT     an archive of a real one-node Raft whose state is the file STATE
//	restore FILE OUT    restores the archive into a real one-node Raft and writes the state it got to OUT
//	store BASE TERM INDEX STATE   adds a snapshot to the file store at BASE: its state is the file STATE
//	open BASE ID        the snapshot as the file store at BASE reads it back: {"meta", "sha256"}
//	head NAME           what a state of consul or nomad begins with, in hexadecimal
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-msgpack/codec"
	"github.com/hashicorp/raft"
	snapshot "github.com/hashicorp/raft-snapshot"
)

// state is a machine whose whole state is one run of bytes.
type state struct{ bytes []byte }

func (s *state) Apply(entry *raft.Log) interface{} {
	s.bytes = append([]byte(nil), entry.Data...)
	return nil
}

func (s *state) Snapshot() (raft.FSMSnapshot, error) { return &state{bytes: s.bytes}, nil }

func (s *state) Restore(in io.ReadCloser) error {
	defer in.Close()
	bytes, err := io.ReadAll(in)
	s.bytes = bytes
	return err
}

func (s *state) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s.bytes); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

func (s *state) Release() {}

// leader starts a cluster of one and waits until it leads, and has committed all it began with: a leader of an uncommitted
// configuration takes no snapshot and restores none.
func leader(machine *state) (*raft.Raft, error) {
	config := raft.DefaultConfig()
	config.LocalID = "one"
	config.LogOutput = io.Discard
	config.HeartbeatTimeout = 50 * time.Millisecond
	config.ElectionTimeout = 50 * time.Millisecond
	config.LeaderLeaseTimeout = 50 * time.Millisecond
	store := raft.NewInmemStore()
	address, transport := raft.NewInmemTransport("127.0.0.1:8300")
	one := raft.Configuration{Servers: []raft.Server{{ID: config.LocalID, Address: address}}}
	snapshots := raft.NewInmemSnapshotStore()
	if err := raft.BootstrapCluster(config, store, store, snapshots, transport, one); err != nil {
		return nil, err
	}
	node, err := raft.NewRaft(config, machine, store, store, snapshots, transport)
	if err != nil {
		return nil, err
	}
	select {
	case <-node.LeaderCh():
		return node, node.Barrier(20 * time.Second).Error()
	case <-time.After(20 * time.Second):
		return nil, fmt.Errorf("no leader within 20 s")
	}
}

func verify(path string) (*raft.SnapshotMeta, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return snapshot.Verify(file)
}

func write(from, to string) error {
	bytes, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	node, err := leader(&state{})
	if err != nil {
		return err
	}
	if err := node.Apply(bytes, time.Minute).Error(); err != nil {
		return err
	}
	archive, err := snapshot.New(hclog.NewNullLogger(), node)
	if err != nil {
		return err
	}
	defer archive.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, archive); err != nil {
		return err
	}
	fmt.Printf("{\"index\":%d,\"checksum\":%q}\n", archive.Index(), archive.Checksum())
	return out.Close()
}

func restore(from, to string) error {
	machine := &state{}
	node, err := leader(machine)
	if err != nil {
		return err
	}
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := snapshot.Restore(hclog.NewNullLogger(), file, node); err != nil {
		return err
	}
	return os.WriteFile(to, machine.bytes, 0o600)
}

// servers are of each kind of suffrage.
var servers = raft.Configuration{Servers: []raft.Server{
	{Suffrage: raft.Voter, ID: "one", Address: "10.0.0.1:8300"},
	{Suffrage: raft.Voter, ID: "two", Address: "10.0.0.2:8300"},
	{Suffrage: raft.Nonvoter, ID: "three", Address: "10.0.0.3:8300"},
}}

func store(base, term, index, from string) error {
	bytes, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	t, err := strconv.ParseUint(term, 10, 64)
	if err != nil {
		return err
	}
	i, err := strconv.ParseUint(index, 10, 64)
	if err != nil {
		return err
	}
	snapshots, err := raft.NewFileSnapshotStore(base, 100, io.Discard)
	if err != nil {
		return err
	}
	_, transport := raft.NewInmemTransport("10.0.0.1:8300")
	sink, err := snapshots.Create(1, i, t, servers, i-1, transport)
	if err != nil {
		return err
	}
	if err := (&state{bytes: bytes}).Persist(sink); err != nil {
		return err
	}
	fmt.Print(sink.ID())
	return nil
}

func open(base, id string) error {
	snapshots, err := raft.NewFileSnapshotStore(base, 100, io.Discard)
	if err != nil {
		return err
	}
	meta, in, err := snapshots.Open(id)
	if err != nil {
		return err
	}
	defer in.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, in); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]interface{}{"meta": meta, "sha256": fmt.Sprintf("%x", hash.Sum(nil))})
}

// head writes what Consul's and Nomad's machines write first, with the encoder and the shapes that they use.
func head(name string) error {
	out := hex.NewEncoder(os.Stdout)
	encoder := codec.NewEncoder(out, &codec.MsgpackHandle{})
	if name == "consul" {
		return encoder.Encode(&struct{ LastIndex uint64 }{41})
	}
	if err := encoder.Encode(&struct{}{}); err != nil {
		return err
	}
	if _, err := out.Write([]byte{5}); err != nil {
		return err
	}
	type witness struct {
		Index uint64
		Time  time.Time
	}
	return encoder.Encode([]witness{{41, time.Unix(1, 0).UTC()}})
}

func run(arguments []string) error {
	switch {
	case len(arguments) > 1 && arguments[0] == "verify":
		for _, path := range arguments[1:] {
			line := struct {
				File  string             `json:"file"`
				Error string             `json:"error,omitempty"`
				Meta  *raft.SnapshotMeta `json:"meta,omitempty"`
			}{File: path}
			meta, err := verify(path)
			if err != nil {
				line.Error = err.Error()
			}
			line.Meta = meta
			if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
				return err
			}
		}
		return nil
	case len(arguments) == 3 && arguments[0] == "write":
		return write(arguments[1], arguments[2])
	case len(arguments) == 3 && arguments[0] == "restore":
		return restore(arguments[1], arguments[2])
	case len(arguments) == 5 && arguments[0] == "store":
		return store(arguments[1], arguments[2], arguments[3], arguments[4])
	case len(arguments) == 3 && arguments[0] == "open":
		return open(arguments[1], arguments[2])
	case len(arguments) == 2 && arguments[0] == "head":
		return head(arguments[1])
	default:
		return fmt.Errorf("usage: raft-snapshot verify FILE... | write STATE OUT | restore FILE OUT | store BASE TERM INDEX STATE | open BASE ID | head NAME")
	}
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
