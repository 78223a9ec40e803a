// Command goraft writes a snapshot with goraft's own code, for ours to read.
//
//	write FOLDER STATE PEER...   a server at FOLDER whose machine has the bytes of the file STATE takes a snapshot;
//	                             each PEER is NAME=ADDRESS
//	load FOLDER OUT              a server at FOLDER loads its snapshot, and the state it got is written to OUT
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goraft/raft"
)

// machine is one whose whole state is one run of bytes.
type machine struct{ state []byte }

func (m *machine) Save() ([]byte, error)       { return m.state, nil }
func (m *machine) Recovery(state []byte) error { m.state = state; return nil }

// nowhere loses every message.
type nowhere struct{}

func (nowhere) SendVoteRequest(raft.Server, *raft.Peer, *raft.RequestVoteRequest) *raft.RequestVoteResponse {
	return nil
}
func (nowhere) SendAppendEntriesRequest(raft.Server, *raft.Peer, *raft.AppendEntriesRequest) *raft.AppendEntriesResponse {
	return nil
}
func (nowhere) SendSnapshotRequest(raft.Server, *raft.Peer, *raft.SnapshotRequest) *raft.SnapshotResponse {
	return nil
}
func (nowhere) SendSnapshotRecoveryRequest(raft.Server, *raft.Peer, *raft.SnapshotRecoveryRequest) *raft.SnapshotRecoveryResponse {
	return nil
}

func open(folder string, m *machine) (raft.Server, error) {
	return raft.NewServer("one", folder, nowhere{}, m, nil, "http://127.0.0.1:7001")
}

func write(folder, from string, peers []string) error {
	state, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	server, err := open(folder, &machine{state: state})
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	defer server.Stop()
	// The first command of a new cluster makes it a cluster of one.
	if _, err := server.Do(&raft.DefaultJoinCommand{Name: "one", ConnectionString: "http://127.0.0.1:7001"}); err != nil {
		return err
	}
	for _, peer := range peers {
		name, address, _ := strings.Cut(peer, "=")
		if err := server.AddPeer(name, address); err != nil {
			return err
		}
	}
	if err := server.TakeSnapshot(); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(folder, "snapshot", "*.ss"))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"files": found, "index": server.CommitIndex(), "term": server.Term()})
}

func load(folder, to string) error {
	m := &machine{}
	server, err := open(folder, m)
	if err != nil {
		return err
	}
	if err := server.LoadSnapshot(); err != nil {
		return err
	}
	return os.WriteFile(to, m.state, 0o600)
}

func run(arguments []string) error {
	switch {
	case len(arguments) > 2 && arguments[0] == "write":
		return write(arguments[1], arguments[2], arguments[3:])
	case len(arguments) == 3 && arguments[0] == "load":
		return load(arguments[1], arguments[2])
	default:
		return fmt.Errorf("usage: goraft write FOLDER STATE PEER... | load FOLDER OUT")
	}
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
