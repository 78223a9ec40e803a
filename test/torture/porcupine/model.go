package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/anishathalye/porcupine"
)

// maxKeys is how many keys a history may have.
const maxKeys = 4

// all is the place of a range over all keys of a history.
const all = -1

// unknown is a revision that nobody was told: that of a write without an answer, until it is read.
const unknown = -1

type history struct {
	Name       string      `json:"name"`
	Operations []operation `json:"operations"`
}

// operation is a transaction, as every other operation is one of a single step. Without an answer it may have taken effect at any
// time since its call, or not at all.
type operation struct {
	Kind    string      `json:"kind"`
	Client  int         `json:"client"`
	Call    int64       `json:"call"`
	Return  int64       `json:"return"`
	Compare []condition `json:"compare"`
	Success []action    `json:"success"`
	Failure []action    `json:"failure"`
	Answer  *answer     `json:"answer"`
}

// condition compares for equality.
type condition struct {
	Key    int    `json:"key"`
	By     string `json:"by"`
	Value  string `json:"value,omitempty"`
	Number int64  `json:"number,omitempty"`
}

type action struct {
	Do    string `json:"do"`
	Key   int    `json:"key"`
	Value string `json:"value,omitempty"`
	// Previous asks for the records as they were.
	Previous bool `json:"previous,omitempty"`
}

type answer struct {
	Revision  int64    `json:"revision"`
	Succeeded bool     `json:"succeeded"`
	Results   []result `json:"results"`
}

type result struct {
	Records []record `json:"records,omitempty"`
	Deleted int      `json:"deleted,omitempty"`
}

type record struct {
	Key     int    `json:"key"`
	Value   string `json:"value,omitempty"`
	Create  int64  `json:"create"`
	Mod     int64  `json:"mod"`
	Version int64  `json:"version"`
}

// cell is a key's record; version 0 is a key that is not there.
type cell struct {
	value                string
	create, mod, version int64
	// after is what an unknown mod is greater than: a revision that somebody was told, so that it is the same in whichever order
	// the writes without an answer are tried. Nine of them would else have as many states as there are orders.
	after int64
}

// state is comparable. The store's revision is at least `revision`, of which `told` is what somebody was told.
type state struct {
	revision int64
	told     int64
	cells    [maxKeys]cell
}

// holds says which results of the conditions are possible; both are when they ask for a revision that nobody was told.
func (s state) holds(conditions []condition) (yes, no bool) {
	yes = true
	for _, c := range conditions {
		cell := s.cells[c.Key]
		var has int64
		switch c.By {
		case "value":
			if cell.version == 0 || cell.value != c.Value {
				return false, true
			}
			continue
		case "version":
			has = cell.version
		case "create":
			has = cell.create
		case "mod":
			has = cell.mod
		}
		switch {
		case has == unknown && (c.Number > cell.after || c.By == "create"):
			no = true
		case has != c.Number:
			return false, true
		}
	}
	return yes, no
}

// saw is the cell once somebody has read this record, if it can be its.
func (c cell) saw(r record, revision int64) (cell, bool) {
	if r.Value != c.value || r.Version != c.version || r.Create > r.Mod || r.Mod > revision {
		return c, false
	}
	if c.mod == unknown && r.Mod > c.after {
		c.mod = r.Mod
	}
	if c.create == unknown {
		c.create = r.Create
	}
	return c, c.mod == r.Mod && c.create == r.Create && (c.version == 1) == (c.create == c.mod)
}

// read matches records with the cells of one key, or of all.
func (s *state) read(key int, records []record, revision int64) bool {
	left := records
	for k := range s.cells {
		if (key != all && key != k) || s.cells[k].version == 0 {
			continue
		}
		if len(left) == 0 || left[0].Key != k {
			return false
		}
		seen, ok := s.cells[k].saw(left[0], revision)
		if !ok {
			return false
		}
		s.cells[k] = seen
		left = left[1:]
	}
	return len(left) == 0
}

// run performs actions one after another. An answer must be the very one that they would have got.
func (s state) run(actions []action, told *answer) (state, bool) {
	revision := int64(unknown)
	if told != nil {
		revision = told.Revision
		if len(told.Results) != len(actions) {
			return s, false
		}
	}
	changed := false
	before := s.revision
	for i, a := range actions {
		if told != nil && (a.Do == "get" || a.Previous) && !s.read(a.Key, told.Results[i].Records, revision) {
			return s, false
		}
		switch a.Do {
		case "put":
			c := &s.cells[a.Key]
			if c.version == 0 {
				c.create = revision
			}
			c.value, c.mod, c.after = a.Value, revision, s.told
			c.version++
			changed = true
		case "delete":
			deleted := 0
			for k := range s.cells {
				if (a.Key == all || a.Key == k) && s.cells[k].version > 0 {
					s.cells[k] = cell{}
					deleted++
				}
			}
			if told != nil && told.Results[i].Deleted != deleted {
				return s, false
			}
			changed = changed || deleted > 0
		}
	}
	switch {
	case told == nil && changed:
		s.revision++
	case told == nil:
	case changed && revision <= before, revision < before:
		return s, false
	default:
		s.revision, s.told = revision, revision
	}
	return s, true
}

func step(from, input, output interface{}) []interface{} {
	s, op, told := from.(state), input.(operation), output.(*answer)
	yes, no := s.holds(op.Compare)
	var next []interface{}
	if yes && (told == nil || told.Succeeded) {
		met := s
		// Who was told that it succeeded knows the revision from here on.
		if told != nil {
			for _, c := range op.Compare {
				met.learn(c)
			}
		}
		if after, ok := met.run(op.Success, told); ok {
			next = append(next, after)
		}
	}
	if no && (told == nil || !told.Succeeded) {
		if after, ok := s.run(op.Failure, told); ok {
			next = append(next, after)
		}
	}
	return next
}

func (s *state) learn(c condition) {
	cell := &s.cells[c.Key]
	if c.By == "mod" && cell.mod == unknown {
		cell.mod = c.Number
	}
	if c.By == "create" && cell.create == unknown {
		cell.create = c.Number
	}
}

var nondeterministic = porcupine.NondeterministicModel{
	Init:              func() []interface{} { return []interface{}{state{}} },
	Step:              step,
	DescribeOperation: describe,
	DescribeState: func(s interface{}) string {
		return fmt.Sprintf("%+v", s)
	},
}

func describe(input, output interface{}) string {
	op, told := input.(operation), output.(*answer)
	text := func(value interface{}) string {
		line, _ := json.Marshal(value)
		return string(line)
	}
	parts := []string{op.Kind}
	if len(op.Compare) > 0 {
		parts = append(parts, "if "+text(op.Compare))
	}
	parts = append(parts, text(op.Success))
	if len(op.Failure) > 0 {
		parts = append(parts, "else "+text(op.Failure))
	}
	if told == nil {
		return strings.Join(append(parts, "-> ?"), " ")
	}
	return strings.Join(append(parts, "-> "+text(told)), " ")
}

func operations(h history) ([]porcupine.Operation, error) {
	list := make([]porcupine.Operation, len(h.Operations))
	lost := 0
	for i, op := range h.Operations {
		for _, c := range op.Compare {
			if c.Key < 0 || c.Key >= maxKeys {
				return nil, fmt.Errorf("%s: key %d", h.Name, c.Key)
			}
		}
		for _, a := range append(append([]action{}, op.Success...), op.Failure...) {
			if a.Key < all || a.Key >= maxKeys || (a.Do == "put" && a.Key == all) {
				return nil, fmt.Errorf("%s: %s of key %d", h.Name, a.Do, a.Key)
			}
		}
		client, end := op.Client, op.Return
		if op.Answer == nil {
			// Its client goes on meanwhile: in a picture it needs a line of its own.
			client, end = 1000+lost, math.MaxInt64
			lost++
		}
		list[i] = porcupine.Operation{ClientId: client, Input: op, Call: op.Call, Output: op.Answer, Return: end}
	}
	return list, nil
}
