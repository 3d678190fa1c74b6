// Package quota has the host's ResourceQuotas count HTTPApps, as count/httpapps.apps.http.keda.sh. The host's own admission
// counts only what it stores itself; its quota controller, which sets right what is counted too much, knows every API.
package quota

import (
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// PluginName is the plugin's name in the server's flags.
const PluginName = resourcequota.PluginName

// Register makes the plugin known. It needs an informer of the ResourceQuotas, and no request to the host in a namespace that has
// none. Replicas of the server, and the host, agree by writing a quota's status on the condition that it is the one they read.
func Register(plugins *admission.Plugins) { resourcequota.Register(plugins) }

// NewInitializer returns what tells the plugin what to count.
func NewInitializer() admission.PluginInitializer { return configuration{} }

type configuration struct{}

// Initialize implements admission.PluginInitializer.
func (configuration) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(initializer.WantsQuotaConfiguration); ok {
		// Only the host's controller lists what there is.
		httpapps := generic.NewObjectCountEvaluator(v1alpha1.Resource("httpapps"), nil, "")
		wants.SetQuotaConfiguration(generic.NewConfiguration([]quotav1.Evaluator{httpapps}, nil))
	}
}
