package console

import "net/http"

func (c *Console) rendered(error) {}

func html(w http.ResponseWriter) http.ResponseWriter {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	return w
}
