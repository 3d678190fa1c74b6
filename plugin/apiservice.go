package plugin

import (
	"context"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// apiServiceName is that of the APIService by which apps are served.
var apiServiceName = v1alpha1.SchemeGroupVersion.Version + "." + v1alpha1.GroupName

// apiService is as much of an APIService as is looked at.
type apiService struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		CABundle []byte
		Service  *struct{ Namespace, Name string }
	}
	Status struct {
		Conditions []struct{ Type, Status, Reason, Message string }
	}
}

func (c *clients) apiServiceNamed(ctx context.Context, name string) (*apiService, error) {
	raw, err := c.apps.RESTClient().Get().AbsPath("/apis/apiregistration.k8s.io/v1/apiservices", name).DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	s := &apiService{}
	return s, json.Unmarshal(raw, s)
}

// apiAvailable says whether the cluster's API server gets answers for apps and, if not, why.
func (c *clients) apiAvailable(ctx context.Context) (available bool, why string, err error) {
	s, err := c.apiServiceNamed(ctx, apiServiceName)
	if err != nil {
		return false, "", err
	}
	for _, condition := range s.Status.Conditions {
		if condition.Type == "Available" {
			return condition.Status == "True", condition.Reason + ": " + condition.Message, nil
		}
	}
	return false, "nobody has looked at it yet", nil
}
