// The official conformance suites as they are: the Inference Extension's, and of the Gateway API's
// what needs no Service behind a route. A test binary (go test -c) that test_conformance.py runs.
package conformance

import (
	"embed"
	"flag"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	inference "sigs.k8s.io/gateway-api-inference-extension/conformance"
	gateway "sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/config"
	"sigs.k8s.io/gateway-api/conformance/utils/flags"
	"sigs.k8s.io/gateway-api/conformance/utils/kubernetes"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

var (
	consistency = flag.Duration("consistency", 2*time.Minute, "how long an answer may be wrong")
	patience    = flag.Duration("patience", 2*time.Minute, "how long a status may, at least")
	chosen      = flag.String("tests", "", "the Gateway API's tests to run, with commas")
)

// What has to be right so many times in a row is not so by luck, where one of three pods is asked
// for. No time passes between successes. The machine does other things too: all else may take
// longer than the suites grant.
func patient(c *config.TimeoutConfig) {
	c.RequiredConsecutiveSuccesses = 40
	c.MaxTimeToConsistency = *consistency
	for _, d := range []*time.Duration{
		&c.DeleteTimeout, &c.GetTimeout, &c.RequestTimeout, &c.GatewayMustHaveAddress,
		&c.GatewayMustHaveCondition, &c.GatewayStatusMustHaveListeners,
		&c.GatewayListenersMustHaveConditions, &c.GWCMustBeAccepted,
		&c.HTTPRouteMustNotHaveParents, &c.HTTPRouteMustHaveCondition, &c.RouteMustHaveParents,
		&c.LatestObservedGenerationSet, &c.DefaultTestTimeout,
	} {
		*d = max(*d, *patience)
	}
}

func TestInference(t *testing.T) {
	options := inference.DefaultOptions(t)
	patient(&options.TimeoutConfig)
	inference.RunConformanceWithOptions(t, options)
}

//go:embed base.yaml
var base embed.FS

// The suite's own base has thirty pods behind Services; ours has its namespaces and Gateways.
func TestGateway(t *testing.T) {
	options := gateway.DefaultOptions(t)
	patient(&options.TimeoutConfig)
	options.ManifestFS = []fs.FS{&base, &gateway.Manifests}
	options.BaseManifests = "base.yaml"
	options.SupportedFeatures = suite.ParseSupportedFeatures(
		"Gateway,HTTPRoute,ReferenceGrant,HTTPRouteParentRefPort")
	s, err := suite.NewConformanceTestSuite(options)
	require.NoError(t, err)
	names := map[string]bool{}
	for _, name := range strings.Split(*chosen, ",") {
		names[name] = true
	}
	var list []suite.ConformanceTest
	for _, test := range tests.ConformanceTests {
		if names[test.ShortName] {
			list = append(list, test)
		}
	}
	require.Len(t, list, len(names), "tests that the suite does not have")
	s.Applier.ManifestFS, s.Applier.GatewayClass = s.ManifestFS, s.GatewayClassName
	s.ControllerName = kubernetes.GWCMustHaveAcceptedConditionTrue(t, s.Client, s.TimeoutConfig,
		s.GatewayClassName)
	s.Applier.ControllerName = s.ControllerName
	s.Applier.MustApplyWithCleanup(t, s.Client, s.TimeoutConfig, s.BaseManifests, *flags.CleanupBaseResources)
	kubernetes.NamespacesMustBeReady(t, s.Client, s.TimeoutConfig, []string{
		"gateway-conformance-infra", "gateway-conformance-app-backend",
		"gateway-conformance-web-backend"})
	require.NoError(t, s.Run(t, list))
}
