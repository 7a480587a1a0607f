package metricsapi

import (
	"encoding/json"
	"net/http"
)

// spoil writes an answer in which every quantity is text that is none, or negative.
func spoil(w http.ResponseWriter, object any, body string) {
	text, err := json.Marshal(object)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	value := "a lot"
	if body == "negative" {
		value = "-1"
	}
	answer(w, replaceQuantities(tree, value))
}

func replaceQuantities(tree any, value string) any {
	switch node := tree.(type) {
	case []any:
		for i := range node {
			node[i] = replaceQuantities(node[i], value)
		}
	case map[string]any:
		for name, child := range node {
			switch name {
			case "cpu", "memory", "value":
				node[name] = value
			default:
				node[name] = replaceQuantities(child, value)
			}
		}
	}
	return tree
}
