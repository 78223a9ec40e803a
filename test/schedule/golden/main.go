// Writes testdata/golden.json: what github.com/robfig/cron/v3, the evaluator inside Kubernetes' CronJob controller, makes
// of a table of schedules. Run it in this folder with `go run . > testdata/golden.json`; it needs nothing but the module.
// Time zones come from the machine or, failing that, from the Go distribution; nearly all dates are in the past, so any
// database of 2025 or later gives the same output.
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

// A run of due times: the schedule's Next, applied over and over from After. Minutes since 1970; After is in seconds.
// Ends says that there is nothing after the last one.
type run struct {
	Expression string  `json:"expression"`
	TimeZone   string  `json:"timeZone"`
	After      int64   `json:"after"`
	Due        []int64 `json:"due"`
	Ends       bool    `json:"ends,omitempty"`
}

type verdict struct {
	Expression string `json:"expression"`
	Valid      bool   `json:"valid"`
}

type golden struct {
	Module   string    `json:"module"`
	Parse    []verdict `json:"parse"`
	Calendar []run     `json:"calendar"`
	Clocks   []run     `json:"clocks"`
	Random   []run     `json:"random"`
}

func evaluate(expression, zone string, after time.Time, count int) run {
	location, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	schedule, err := cron.ParseStandard(expression)
	if err != nil {
		panic(err)
	}
	result := run{Expression: expression, TimeZone: zone, After: after.Unix(), Due: []int64{}}
	at := after.In(location)
	for i := 0; i < count; i++ {
		at = schedule.Next(at)
		if at.IsZero() {
			result.Ends = true
			break
		}
		if at.Unix()%60 != 0 {
			panic(fmt.Sprintf("%s in %s: due at %d, not a whole minute", expression, zone, at.Unix()))
		}
		result.Due = append(result.Due, at.Unix()/60)
	}
	return result
}

func instant(text string) time.Time {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return at
}

var expressions = []string{
	"* * * * *", "*/5 * * * *", "0 0 * * *", "30 2 * * *", "00 02 * * *", "0 0,12 * * *", "5/15 * * * *", "*/60 * * * *",
	"0 9-17 * * 1-5", "0 9-17/2 * * MON-FRI", "0 0 1 * *", "0 0 31 * *", "0 0 30 * *", "0 0 29 2 *", "0 0 29 FEB *",
	"0 0 1 JAN,jul *", "0 0 1-7 * MON", "0 0 13 * FRI", "0 0 13 * 5", "0 0 * * 0", "0 0 * * SUN", "0 0 * 2 MON",
	"0 0 */2 * MON", "0 0 */2 * *", "0 0 1-31/2 * MON", "0 0 1-31 * MON", "0 0 ? * MON", "0 0 13 * ?", "0 0 13 * */2",
	"0 0 13 * 0-6", "0 0 13 * */1", "0 0 */1 * 1", "0 0 *,13 * 5", "0 0 13 * *,5", "15,45 6-8,20 * * *", "1-59/20 */7 * * *",
	"59 23 31 12 *", "0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 MON", "@hourly", "@daily", "@midnight",
	"@weekly", "@monthly", "@yearly", "@annually", "0 0 28-31 * *", "*/7 */5 */11 */4 *", "0 */100 * * *",
}

var starts = []string{
	"2026-01-01T00:00:00Z", "2026-02-28T23:59:59Z", "2024-02-29T00:00:00Z", "2027-12-31T23:59:30Z", "2026-10-25T00:30:00Z",
}

// Where clocks change in unlike ways, and when. Not among them: Pacific/Apia in December 2011, which left out a whole day.
// There the module's Next never returns, and ours has a test of its own.
var changes = []struct{ zone, at string }{
	{"Europe/Berlin", "2026-03-29T01:00:00Z"}, {"Europe/Berlin", "2026-10-25T01:00:00Z"},
	{"Europe/London", "2026-03-29T01:00:00Z"}, {"Europe/London", "2026-10-25T01:00:00Z"},
	{"America/New_York", "2026-03-08T07:00:00Z"}, {"America/New_York", "2026-11-01T06:00:00Z"},
	{"America/Los_Angeles", "2025-03-09T10:00:00Z"}, {"America/St_Johns", "2025-11-02T04:30:00Z"},
	{"Australia/Lord_Howe", "2025-10-04T15:30:00Z"}, {"Australia/Lord_Howe", "2026-04-04T15:00:00Z"},
	{"Australia/Sydney", "2025-10-04T16:00:00Z"}, {"Pacific/Auckland", "2026-04-04T14:00:00Z"},
	{"Pacific/Chatham", "2025-09-27T14:00:00Z"}, {"Asia/Kolkata", "2026-03-29T01:00:00Z"},
	{"Asia/Kathmandu", "2026-03-29T01:00:00Z"}, {"Etc/UTC", "2026-03-29T01:00:00Z"},
	{"America/Sao_Paulo", "2018-11-04T03:00:00Z"}, {"America/Sao_Paulo", "2019-02-17T02:00:00Z"},
	{"America/Sao_Paulo", "2026-03-29T01:00:00Z"}, {"America/Havana", "2025-03-09T05:00:00Z"},
	{"America/Havana", "2025-11-02T05:00:00Z"}, {"Asia/Beirut", "2025-03-29T22:00:00Z"},
	{"Asia/Beirut", "2025-10-25T21:00:00Z"}, {"Africa/Cairo", "2025-04-24T22:00:00Z"},
	{"Africa/Cairo", "2025-10-30T21:00:00Z"}, {"Antarctica/Troll", "2025-03-30T01:00:00Z"},
	{"Antarctica/Troll", "2025-10-26T01:00:00Z"}, {"Asia/Tehran", "2021-03-21T20:30:00Z"},
	{"Atlantic/Azores", "2026-03-29T01:00:00Z"},
	{"America/Caracas", "2016-05-01T07:00:00Z"}, {"Asia/Pyongyang", "2018-05-04T15:00:00Z"},
}

var clockExpressions = []string{
	"30 2 * * *", "0 2 * * *", "0 3 * * *", "15 1 * * *", "0 0 * * *", "30 0 * * *", "0 * * * *", "*/30 * * * *",
	"*/15 1-3 * * *", "15 3 * * *", "0 12 * * SUN", "0 1 * * *",
}

// Valid as well as not; what the two sides are known to differ in is in the test.
var toParse = []string{
	"* * * * *", "@daily", "@hourly", "@midnight", "@weekly", "@monthly", "@yearly", "@annually", "@reboot", "@Daily", "@",
	"", " ", "* * * *", "* * * * * *", "0 0 * * 7", "0 0 * * 0-7", "0 0 * * 8", "60 * * * *", "* 24 * * *", "* * 0 * *",
	"* * 32 * *", "* * * 0 *", "* * * 13 *", "* * * JAN *", "* * * JANUARY *", "* * * * MONDAY", "* * * * mon-FRI",
	"* * * * FRI-MON", "5-1 * * * *", "*/0 * * * *", "*/-1 * * * *", "-1 * * * *", "1-2-3 * * * *", "1/2/3 * * * *",
	"1,2,3 * * * *", "*/5,1 * * * *", "a * * * *", "* * * * *x", "? ? ? ? ?", "* * L * *", "* * * * 5L", "* * 15W * *",
	"* * * * 1#2", "TZ=UTC 0 0 * * *", "CRON_TZ=Europe/Berlin 0 0 * * *", "TZ=Nowhere/Land 0 0 * * *", "@every 1h",
	"@every 1x", "1.5 * * * *", "0x1 * * * *", "00 02 * * *", "0 0 1 1 *", "\t0 0 * * *  ", "0  0\t* * *", "0 0 31 2 *",
	"*/100 * * * *", "H * * * *", "* * * FEB-nov/3 *", "* * * * SUN-SAT", "0 0 * * 5/2", "* * JAN * *", "MON * * * *",
	"10-59/15,3 */2 1,15 */3 1-5", "1- * * * *", "/5 * * * *", "-5 * * * *", "5/ * * * *",
}

// The shapes that a field comes in, for random expressions.
func randomField(random *rand.Rand, min, max int, names []string) string {
	value := func() int { return min + random.Intn(max-min+1) }
	item := func() string {
		switch random.Intn(7) {
		case 0, 1:
			return "*"
		case 2:
			return fmt.Sprintf("*/%d", 1+random.Intn(max))
		case 3:
			return fmt.Sprintf("%d/%d", value(), 1+random.Intn(max))
		case 4, 5:
			from, to := value(), value()
			if from > to {
				from, to = to, from
			}
			if random.Intn(2) == 0 {
				return fmt.Sprintf("%d-%d/%d", from, to, 1+random.Intn(5))
			}
			return fmt.Sprintf("%d-%d", from, to)
		default:
			if len(names) > 0 {
				return names[random.Intn(len(names))]
			}
			return fmt.Sprint(value())
		}
	}
	items := []string{item()}
	for random.Intn(4) == 0 {
		items = append(items, item())
	}
	return strings.Join(items, ",")
}

func main() {
	result := golden{Module: "github.com/robfig/cron/v3 v3.0.1"}
	for _, expression := range toParse {
		_, err := cron.ParseStandard(expression)
		result.Parse = append(result.Parse, verdict{expression, err == nil})
	}
	for i, expression := range expressions {
		for j, start := range starts {
			zone := []string{"Etc/UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"}[(i+j)%5]
			result.Calendar = append(result.Calendar, evaluate(expression, zone, instant(start), 5))
		}
	}
	for _, change := range changes {
		for _, expression := range clockExpressions {
			for _, before := range []time.Duration{75*time.Minute + 20*time.Second, 26 * time.Hour} {
				result.Clocks = append(result.Clocks, evaluate(expression, change.zone, instant(change.at).Add(-before), 5))
			}
		}
	}
	random := rand.New(rand.NewSource(20260727))
	zones := []string{"Etc/UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata",
		"America/Sao_Paulo", "Asia/Beirut", "Pacific/Chatham", "Europe/London", "America/Havana"}
	months := []string{"JAN", "feb", "Mar", "APR", "may", "JUN", "JUL", "aug", "SEP", "oct", "NOV", "DEC"}
	days := []string{"SUN", "mon", "Tue", "WED", "thu", "FRI", "sat"}
	from := instant("2016-01-01T00:00:00Z").Unix()
	for i := 0; i < 1500; i++ {
		expression := strings.Join([]string{
			randomField(random, 0, 59, nil), randomField(random, 0, 23, nil), randomField(random, 1, 31, nil),
			randomField(random, 1, 12, months), randomField(random, 0, 6, days),
		}, " ")
		after := time.Unix(from+random.Int63n(10*365*24*3600), 0)
		result.Random = append(result.Random, evaluate(expression, zones[random.Intn(len(zones))], after, 4))
	}
	// One case a line: a change of the table shows as the lines that it is.
	write := func(name string, length int, at func(int) any, last bool) {
		fmt.Printf("  %q: [\n", name)
		for i := 0; i < length; i++ {
			line, err := json.Marshal(at(i))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			fmt.Printf("    %s%s\n", line, map[bool]string{true: "", false: ","}[i == length-1])
		}
		fmt.Printf("  ]%s\n", map[bool]string{true: "", false: ","}[last])
	}
	fmt.Printf("{\n  \"module\": %q,\n", result.Module)
	write("parse", len(result.Parse), func(i int) any { return result.Parse[i] }, false)
	write("calendar", len(result.Calendar), func(i int) any { return result.Calendar[i] }, false)
	write("clocks", len(result.Clocks), func(i int) any { return result.Clocks[i] }, false)
	write("random", len(result.Random), func(i int) any { return result.Random[i] }, true)
	fmt.Println("}")
}
