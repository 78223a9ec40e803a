package main

import (
	"encoding/json"
	"sort"
)

// acknowledged is what an answer says of the store as a whole.
type acknowledged struct {
	Call     int64 `json:"call"`
	Return   int64 `json:"return"`
	Revision int64 `json:"revision"`
	Changed  bool  `json:"changed"`
}

// order checks that no two changes have one revision, and that whoever was called after another's answer has seen as much.
func order(files []string, out *json.Encoder) error {
	var calls []acknowledged
	if err := each(files, func(a acknowledged) error { calls = append(calls, a); return nil }); err != nil {
		return err
	}
	returns := append([]acknowledged{}, calls...)
	sort.Slice(calls, func(i, j int) bool { return calls[i].Call < calls[j].Call })
	sort.Slice(returns, func(i, j int) bool { return returns[i].Return < returns[j].Return })
	changes := map[int64]acknowledged{}
	wrong := 0
	complain := func(what string, first, second acknowledged) error {
		wrong++
		if wrong > 20 {
			return nil
		}
		return out.Encode(map[string]interface{}{"wrong": what, "first": first, "second": second})
	}
	var newest acknowledged
	ended := 0
	for _, a := range calls {
		for ended < len(returns) && returns[ended].Return < a.Call {
			if returns[ended].Revision > newest.Revision {
				newest = returns[ended]
			}
			ended++
		}
		var err error
		if a.Changed && a.Revision <= newest.Revision {
			err = complain("a later change has no later revision", newest, a)
		} else if a.Revision < newest.Revision {
			err = complain("a later read is older", newest, a)
		}
		if other, taken := changes[a.Revision]; err == nil && a.Changed && taken {
			err = complain("two changes have one revision", other, a)
		}
		if err != nil {
			return err
		}
		if a.Changed {
			changes[a.Revision] = a
		}
	}
	return out.Encode(map[string]int{"answers": len(calls), "changes": len(changes), "wrong": wrong})
}
