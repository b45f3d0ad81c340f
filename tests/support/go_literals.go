// Reads a JSON list of Go literals from stdin; writes a JSON list of their texts, null for what is none.
//
// Tempo and Loki read the texts of queries by strconv.Unquote, too.
package main

import (
	"encoding/json"
	"os"
	"strconv"
)

func main() {
	var literals []string
	if err := json.NewDecoder(os.Stdin).Decode(&literals); err != nil {
		panic(err)
	}
	texts := make([]*string, len(literals))
	for number, literal := range literals {
		if text, err := strconv.Unquote(literal); err == nil {
			texts[number] = &text
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(texts); err != nil {
		panic(err)
	}
}
