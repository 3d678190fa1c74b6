package server

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
)

func TestAnOldSchemaIsAnsweredWithThePresentOne(t *testing.T) {
	service := handler3.NewOpenAPIService()
	service.UpdateGroupVersion("apis/x/v1", &spec3.OpenAPI{Version: "3.0.0"})
	handler := withPresentSchema(http.HandlerFunc(service.HandleGroupVersion))
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}

	present := get("/openapi/v3/apis/x/v1")
	hash := present.Header().Get("Etag")
	hash = hash[1 : len(hash)-1]
	old := get("/openapi/v3/apis/x/v1?hash=OLD")
	if old.Code != http.StatusOK || old.Body.String() != present.Body.String() || old.Header().Get("Location") != "" {
		t.Errorf("an old one: %d %v %s", old.Code, old.Header(), old.Body)
	}
	if old.Header().Get("Cache-Control") != "" {
		t.Error("the present one may be kept as the old one")
	}
	if w := get("/openapi/v3/apis/x/v1?hash=" + hash); w.Code != http.StatusOK || w.Header().Get("Cache-Control") == "" {
		t.Errorf("the present one: %d %v", w.Code, w.Header())
	}
}
