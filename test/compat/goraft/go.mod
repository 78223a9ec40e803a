module raftsman.dev/compat/goraft

go 1.24

require github.com/goraft/raft v0.0.0-20150509002813-0061b6c82526

require (
	code.google.com/p/gogoprotobuf v0.0.0-00010101000000-000000000000 // indirect
	code.google.com/p/goprotobuf v0.0.0-00010101000000-000000000000 // indirect
)

// Where these two lived is no more.
replace (
	code.google.com/p/gogoprotobuf => github.com/gogo/protobuf v1.3.2
	code.google.com/p/goprotobuf => github.com/golang/protobuf v1.2.0
)
