// Command porcupine judges what clients of a torture run saw.
//
//	check [-timeout 60s] [-show FOLDER] FILE...   is each history linearizable?
//	order FILE...                                 do revisions agree with the clock, over all histories?
//
// A history is one JSON object, {"name", "operations"}: all that was done to a few keys that nobody else touches, from their
// beginning. `check` prints a JSON line for each that is not linearizable, or not decided in time, and then a line with the
// counts. A file for `order` has one JSON object for each answer.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

type verdict struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Picture string `json:"picture,omitempty"`
	// Tail holds the operations around which nothing fits any more.
	Tail []string `json:"tail,omitempty"`
}

func judge(h history, timeout time.Duration, show string) (verdict, error) {
	list, err := operations(h)
	if err != nil {
		return verdict{}, err
	}
	model := nondeterministic.ToModel()
	said := verdict{Name: h.Name, Verdict: string(porcupine.CheckOperationsTimeout(model, list, timeout))}
	if said.Verdict == string(porcupine.Ok) {
		return said, nil
	}
	_, info := porcupine.CheckOperationsVerbose(model, list, timeout)
	said.Tail = stuck(list, info)
	if show != "" {
		said.Picture = filepath.Join(show, h.Name+".html")
		err = porcupine.VisualizePath(model, info, said.Picture)
	}
	return said, err
}

// stuck describes the last operations that could be put in an order, and those that should have come next.
func stuck(list []porcupine.Operation, info porcupine.LinearizationInfo) []string {
	var longest []int
	for _, partition := range info.PartialLinearizations() {
		for _, one := range partition {
			if len(one) > len(longest) {
				longest = one
			}
		}
	}
	placed := map[int]bool{}
	for _, id := range longest {
		placed[id] = true
	}
	var left []int
	for id, op := range list {
		if !placed[id] && op.Return != math.MaxInt64 {
			left = append(left, id)
		}
	}
	sort.Slice(left, func(i, j int) bool { return list[left[i]].Call < list[left[j]].Call })
	line := func(what string, id int) string {
		op := list[id]
		return fmt.Sprintf("%s client %d, %d to %d: %s", what, op.ClientId, op.Call, op.Return, describe(op.Input, op.Output))
	}
	var lines []string
	for _, id := range longest[max(0, len(longest)-5):] {
		lines = append(lines, line("fits:", id))
	}
	for _, id := range left[:min(5, len(left))] {
		lines = append(lines, line("does not:", id))
	}
	return lines
}

// each decodes the JSON values of files one by one.
func each[T any](files []string, take func(T) error) error {
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		decoder := json.NewDecoder(bufio.NewReaderSize(file, 1<<16))
		for err == nil {
			var value T
			if err = decoder.Decode(&value); err == nil {
				err = take(value)
			}
		}
		file.Close()
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func check(arguments []string, out *json.Encoder) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	timeout := flags.Duration("timeout", time.Minute, "for each history")
	show := flags.String("show", "", "folder for pictures of what is wrong")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	counts := struct {
		Histories  int `json:"histories"`
		Operations int `json:"operations"`
		Illegal    int `json:"illegal"`
		Undecided  int `json:"undecided"`
	}{}
	err := each(flags.Args(), func(h history) error {
		said, err := judge(h, *timeout, *show)
		if err != nil {
			return err
		}
		counts.Histories++
		counts.Operations += len(h.Operations)
		switch porcupine.CheckResult(said.Verdict) {
		case porcupine.Ok:
			return nil
		case porcupine.Illegal:
			counts.Illegal++
		case porcupine.Unknown:
			counts.Undecided++
		}
		return out.Encode(said)
	})
	if err != nil {
		return err
	}
	return out.Encode(counts)
}

func run(arguments []string) error {
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	switch {
	case len(arguments) > 1 && arguments[0] == "check":
		return check(arguments[1:], out)
	case len(arguments) > 1 && arguments[0] == "order":
		return order(arguments[1:], out)
	default:
		return errors.New("usage: porcupine check [-timeout 60s] [-show FOLDER] FILE... | order FILE...")
	}
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
