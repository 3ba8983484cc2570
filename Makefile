SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# A name or regular expression of tests: make test RUN=Case05_
RUN ?=
# A share of the mutations: make mutations SHARE=2/4
SHARE ?= 1/1
# The versions that test-versions runs on. make demo KUBERNETES=1.33, and others, run on the one.
KUBERNETES ?= $(patsubst hack/controlplane/v%,%,$(wildcard hack/controlplane/v*))
# More flags for go test: make test TESTFLAGS=-count=1
TESTFLAGS ?=
# Flags of the benchmarks: make bench BENCHFLAGS='--tokens 10000 --duration 5s'
# Two minutes instead of half an hour: make bench-cluster BENCHFLAGS='--cluster 200 --per-round 100 --rounds 1 --duration 1s'
BENCHFLAGS ?=
# How long each fuzz target runs.
FUZZTIME ?= 10s
# How long the long forms of the fault tests run in all, four minutes at least, and then those of abuse; make abuse too.
SOAKTIME ?= 30m
# Which end-to-end tests have their long forms then.
SOAKRUN ?= Case01|Case09|Case43|Case44|Case51|TestHundreds
ABUSETIME ?= 3m
# How long soak-idle lets streams be idle.
IDLETIME ?= 12m
# Where install-plugin installs; without it a folder that is in PATH: GOBIN, one of your own, or /usr/local/bin.
BINDIR ?=
# Flags of chart-render: --release NAME, --namespace NAME, --values FILE (with its whole path), --notes.
RENDERFLAGS ?=
# The name of the image that docker-build makes and that `make render` puts into the manifests.
IMG ?= pat-operator:dev
# What `manager version` and `kubectl pat --version` say, and what a release is called.
VERSION ?= $(shell hack/version.sh)
# The name of the released image, without a tag, and the page of the source. A release's files are below $(SOURCE)/releases.
IMAGE_REPOSITORY ?= pat-operator
SOURCE ?= https://github.com/pat-operator/pat-operator
# The commit, and the time of everything that a release packs.
REVISION ?= $(shell git rev-parse HEAD)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
# Fewer plugins compile faster: make dist dist-check plugin_platforms=linux/amd64
image_platforms := linux/amd64 linux/arm64
plugin_platforms := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

# Heavy tools have modules of their own; each is built once for a machine and kept outside the checkout.
tool = $$(hack/tools/bin.sh $(1))
# The folder of etcd, kube-apiserver, kube-controller-manager and kubectl; filled first where needed.
# A busy machine may need more than envtest's 20 seconds to start them.
assets = KUBEBUILDER_ASSETS=$$(hack/controlplane/assets.sh); export KUBEBUILDER_ASSETS KUBEBUILDER_CONTROLPLANE_START_TIMEOUT=2m
# What the console is tested with; empty where it cannot be had, which the scripts say.
browser = PAT_CHROMIUM=$$(hack/tools/chromium.sh); PAT_AXE=$$(hack/tools/axe.sh); export PAT_CHROMIUM PAT_AXE
# What tests the alerts; empty where it cannot be had.
promtool = PAT_PROMTOOL=$$(hack/tools/promtool.sh); export PAT_PROMTOOL
# What packs a release.
release = go run ./hack/release --version '$(VERSION)' --created $(SOURCE_DATE_EPOCH) --repository '$(IMAGE_REPOSITORY)' --source '$(SOURCE)'
generated := api config/crd/bases config/rbac/operator/role.yaml config/rbac/verifier/role.yaml config/rbac/proxy/role.yaml config/rbac/api/role.yaml docs/api.md docs/architecture.md docs/security-evidence.md \
	charts/pat-operator/files config/prometheus/rules.yaml

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "; printf "Usage: make TARGET [NAME=VALUE ...]\n"} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ See it run

.PHONY: demo
demo: ## From nothing to a token that works with kubectl, by the proxy and by kube-apiserver, then revoked and refused.
	@$(assets); echo "building the demo (the first time, some minutes)"; go build -o bin/dev ./hack/dev; exec bin/dev demo

.PHONY: dev
dev: ## The same control plane, operator, proxy and API face in the foreground until Ctrl-C; writes .dev/env to source.
	@$(assets); kustomize=$(call tool,kustomize); export PAT_TOOLS_BIN=$${kustomize%/*}; \
		echo "building the dev cluster (the first time, some minutes)"; go build -o bin/dev ./hack/dev; exec bin/dev dev

.PHONY: controlplane
controlplane: ## Fill the cache with etcd, kube-apiserver, kube-controller-manager and kubectl; print its folder. KUBERNETES=1.33 for another version.
	@hack/controlplane/assets.sh

.PHONY: chromium
chromium: ## Find a Chromium for the tests of the console, or install Debian's; print its path.
	@hack/tools/chromium.sh

##@ Check

.PHONY: test
test: ## Run the tests with the race detector: units, envtest, end to end, browser. RUN=Case05_ runs what matches, long or not.
	@$(assets); $(browser); $(promtool); RUN='$(RUN)' hack/tools/test.sh $(TESTFLAGS)

.PHONY: test-long
test-long: ## Run the exhaustive and slow tests that `make test` leaves out.
	@$(assets); $(browser); LONG=1 hack/tools/test.sh $(TESTFLAGS)

.PHONY: test-clients
test-clients: ## Have real clients ask the API face as docs/protect-an-api.md says, nginx, Caddy, HAProxy, Apache, git; installs Debian's packages of them.
	@hack/tools/clients.sh; $(assets); go test -race -tags clients -timeout 20m -count=1 -v -run '$(RUN)' $(TESTFLAGS) ./test/clients

.PHONY: test-versions
test-versions: ## Run what depends on the version of Kubernetes on older ones, which are built first. KUBERNETES=1.33 for one; RUN for other tests.
	@RUN='$(RUN)' hack/tools/test-versions.sh $(KUBERNETES)

.PHONY: kubeadm-check
kubeadm-check: ## Have kubeadm of this and the older versions of Kubernetes validate what `kubectl pat setup` gives it; they are built first.
	@for version in '' $(KUBERNETES); do \
		folder=$$(KUBEBUILDER_ASSETS='' KUBERNETES=$$version hack/controlplane/assets.sh kubeadm); "$$folder/kubeadm" version -o short; \
		PAT_KUBEADM=$$folder/kubeadm go test -count=1 -v -run '^TestKubeadmAcceptsWhatSetupPrints$$' ./internal/setup; \
	done

.PHONY: mutations
mutations: ## Put each fault of test/mutations back into a copy and demand that its test finds it. RUN=a-404 tries what matches, SHARE=1/4 a quarter.
	@$(assets); $(promtool); hack/tools/mutations.sh '$(RUN)' '$(SHARE)'

.PHONY: ci
ci: ## Run all that must pass before a change lands.
	@.ci/run

.PHONY: soak
soak: ## Break processes, networks and etcd on purpose for SOAKTIME (30m), then abuse the verifier for ABUSETIME (3m).
	@$(assets); go test -race -timeout 2h -count=1 -v ./test/faults -soak=$(SOAKTIME)
	go test -timeout 30m -count=1 -v -run 'Case2[34]' ./internal/serving -soak=$(ABUSETIME)
	@$(assets); go test -timeout 30m -count=1 -run 'Case30|Case34|AsManyTokens' ./controllers -soak
	@$(assets); go test -timeout 2h -count=1 -run '$(SOAKRUN)' ./test/e2e -soak=$(SOAKTIME)

.PHONY: soak-idle
soak-idle: ## Keep a watch, shells and ports idle for IDLETIME (12m) through the proxy, behind what forgets silent connections after five minutes.
	@$(assets); go test -timeout 2h -count=1 -v -run '^TestIdleStreamsSurviveAMiddlebox$$' ./test/streams -idle=$(IDLETIME)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (10s).
	@hack/tools/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: ## Measure size and load: memory for a token, Verify, TokenReviews, and valid tokens during abuse.
	go run ./hack/bench $(BENCHFLAGS)

.PHONY: bench-cluster
bench-cluster: ## Measure issuing against the API server's own rate, requests, a restart and a verifier, with 10,000 tokens.
	@$(assets); go run ./hack/bench --cluster 10000 $(BENCHFLAGS)

.PHONY: bench-console
bench-console: ## Measure the console's table of 500 tokens against the API server's own list, and the page's weight.
	@$(assets); go run ./hack/bench --console 500 $(BENCHFLAGS)

.PHONY: bench-authorizer
bench-authorizer: ## Measure what the authorizer of scopes costs users whose tokens have none, while it runs, stands still, and is gone.
	@$(assets); go run ./hack/bench --authorizer $(BENCHFLAGS)

.PHONY: bench-proxy
bench-proxy: ## Measure the proxy against kube-apiserver itself, on two processors: time, rate, memory, watches, silent clients, lost writes.
	@$(assets); two=; if command -v taskset >/dev/null; then two='taskset -c 0,1'; fi; go build -o bin/bench ./hack/bench; exec $$two bin/bench --proxy $(BENCHFLAGS)

.PHONY: abuse
abuse: ## Run each attack against each port of an installation for ABUSETIME (3m) in all; fail where others or memory suffer.
	@$(assets); go run ./hack/bench --abuse $(ABUSETIME)

.PHONY: screenshots
screenshots: ## Make the pictures of the console in docs/images, in Chromium against a real control plane.
	@mkdir -p docs/images; $(assets); $(browser); PAT_REQUIRE_BROWSER=1 \
		go test ./test/browser -count=1 -v -run '^TestScreenshots$$' -screenshots='$(CURDIR)/docs/images'

.PHONY: chart
chart: ## Test the Helm chart by Helm's engine and, by dry runs, on a real API server; part of `make test`.
	@$(assets); go -C test/chart test -count=1 $(TESTFLAGS) ./...

.PHONY: chart-test
chart-test: ## Install, upgrade, roll back, uninstall and install again with the helm program, on a real control plane.
	@$(assets); PAT_HELM=$(call tool,helm) go -C test/chart test -count=1 -v -run '^TestLifeCycle$$' $(TESTFLAGS) .

.PHONY: lint
lint: ## Run go vet and golangci-lint; formatting counts too. Look for words that our texts do not use.
	hack/tools/words.sh .
	"$(call tool,actionlint)"
	go vet -tags clients ./...
	go -C test/chart vet ./...
	go -C hack/image vet ./...
	go -C pkg/patauth vet ./...
	GOMEMLIMIT=4GiB "$(call tool,golangci-lint)" run --concurrency 2 --timeout 20m
	tool="$(call tool,golangci-lint)"; cd pkg/patauth && GOMEMLIMIT=4GiB "$$tool" run --concurrency 2 --timeout 20m

.PHONY: fmt
fmt: ## Format the code as lint wants it.
	tool="$(call tool,golangci-lint)"; "$$tool" fmt && cd pkg/patauth && "$$tool" fmt

.PHONY: workflows-lint
workflows-lint: ## Check .github/workflows with actionlint.
	"$(call tool,actionlint)"

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities in what the binaries call; skipped, visibly, where the database is out of reach.
	@hack/tools/vulncheck.sh "$(call tool,govulncheck)"

##@ Build

.PHONY: build
build: ## Build bin/manager.
	VERSION='$(VERSION)' hack/build.sh bin/manager ./cmd/manager

.PHONY: install-plugin
install-plugin: ## Install `kubectl pat` and its completion into BINDIR, and kubectl if it is missing.
	@BINDIR='$(BINDIR)' VERSION='$(VERSION)' hack/install-plugin.sh

.PHONY: docker-build
docker-build: ## Build the image IMG with docker, for PLATFORM=linux/arm64 too; BASE_IMAGE and BUILDER_IMAGE replace the images it stands on.
	$${CONTAINER_TOOL:-docker} build -t $(IMG) $(if $(PLATFORM),--platform $(PLATFORM)) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(SOURCE) \
		--build-arg CREATED=$(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd) \
		$(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
		$(if $(BUILDER_IMAGE),--build-arg BUILDER_IMAGE=$(BUILDER_IMAGE)) .

.PHONY: render
render: ## Print the manifests of config/default with the image IMG.
	@"$(call tool,kustomize)" build config/default | sed 's|image: pat-operator:dev$$|image: $(IMG)|'

.PHONY: chart-render
chart-render: ## Print what the Helm chart renders, without helm: make chart-render RENDERFLAGS='--namespace a --values FILE'
	@go -C test/chart run ./render --chart '$(CURDIR)/charts/pat-operator' $(RENDERFLAGS)

.PHONY: kustomize
kustomize: ## Build kustomize; print its path.
	@hack/tools/bin.sh kustomize

.PHONY: generate
generate: ## Generate deep copies, apply configurations, the CRD, RBAC, docs/api.md and parts of other pages from the code, and the chart's copies.
	go tool controller-gen \
		object:headerFile=hack/boilerplate.go.txt \
		applyconfiguration:headerFile=hack/boilerplate.go.txt \
		crd paths=./api/... output:crd:dir=config/crd/bases
	go tool controller-gen rbac:roleName=pat-operator paths="./cmd/...;./controllers/...;./internal/admission/...;./internal/guards/..." \
		output:rbac:dir=config/rbac/operator
	go tool controller-gen rbac:roleName=pat-operator-verifier paths="./internal/verifier/...;./internal/lastused/...;./internal/authn/...;./internal/console/...;./internal/authz/..." output:rbac:dir=config/rbac/verifier
	go tool controller-gen rbac:roleName=pat-operator-proxy paths="./internal/verifier/...;./internal/lastused/...;./internal/proxy/..." output:rbac:dir=config/rbac/proxy
	go tool controller-gen rbac:roleName=pat-operator-api paths="./internal/verifier/...;./internal/api/..." output:rbac:dir=config/rbac/api
	hack/chart/files.sh
	hack/chart/prometheus.sh
	@mkdir -p docs
	"$(call tool,crd-ref-docs)" --log-level ERROR --renderer markdown --source-path api --output-path docs/api.md \
		--config hack/tools/crd-ref-docs/config.yaml --templates-dir hack/tools/crd-ref-docs/templates
	go run ./test/docs/generate

.PHONY: package-picture
package-picture: ## Draw the picture of the packages in docs/architecture.md from their imports.
	go run ./test/docs/generate packages

.PHONY: generate-check
generate-check: generate ## Fail where what is generated differs from what is committed.
	@status=0; git --no-pager diff --exit-code -- $(generated) || status=1; \
	new=$$(git ls-files --others --exclude-standard -- $(generated)); \
	[ -z "$$new" ] || { printf 'not in git: %s\n' $$new; status=1; }; \
	[ $$status -eq 0 ] || { echo "generated files are not up to date: run make generate and commit" >&2; exit 1; }

##@ Release

.PHONY: image
image: managers ## Write the image for amd64 and arm64 into dist without a container engine: an OCI layout, and archives for docker load.
	@mkdir -p dist
	@go -C hack/image run . --layout '$(CURDIR)/dist/image' --archive '$(CURDIR)/dist/pat-operator-$(VERSION)-%s.docker.tar' \
		--repository '$(IMAGE_REPOSITORY)' --version '$(VERSION)' --revision '$(REVISION)' --source '$(SOURCE)' --created $(SOURCE_DATE_EPOCH) \
		$(foreach p,$(image_platforms),$(p)='$(CURDIR)/bin/release/$(subst /,-,$(p))/manager')

.PHONY: image-check
image-check: image ## Run the image's binary, look into the image, and build it again in another folder: it is the same.
	@VERSION='$(VERSION)' IMAGE_REPOSITORY='$(IMAGE_REPOSITORY)' REVISION='$(REVISION)' SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) hack/image/check.sh

.PHONY: image-push
image-push: image ## Push the image to IMAGE_REPOSITORY:VERSION, with the credentials of docker's configuration; print its digest.
	@go -C hack/image run . --push --layout '$(CURDIR)/dist/image' --repository '$(IMAGE_REPOSITORY)' --version '$(VERSION)'

.PHONY: plugins
plugins: plugin-binaries ## Pack `kubectl pat` for Linux, macOS and Windows into dist, with a manifest for krew.
	@$(release) plugins $(plugin_platforms)
	@out=$$("$(call tool,validate-krew-manifest)" -manifest dist/pat.yaml -skip-install 2>&1) || { echo "$$out" >&2; exit 1; }

.PHONY: manifests
manifests: image ## Write the chart, install.yaml and crds.yaml into dist; they name the image by its digest.
	@$(release) chart
	@hack/release/manifests.sh '$(VERSION)'

.PHONY: sbom
sbom: managers plugin-binaries ## Write a list of what is in each binary into dist, as CycloneDX.
	@mkdir -p dist; tool=$(call tool,cyclonedx-gomod); for file in bin/release/*/*; do \
		of=$${file#bin/release/}; name=$$(basename "$${of#*/}" .exe); \
		"$$tool" bin -json -noserial -notimestamp -std -version '$(VERSION)' -output "dist/$$name-$(VERSION)-$${of%%/*}.cdx.json" "$$file"; done
	@$(release) sboms

.PHONY: dist
dist: ## Write everything that a release has into dist, with checksums.
	@rm -rf dist bin/release
	@$(MAKE) image plugins manifests sbom
	@$(release) checksums
	@# .ci/run asks whether Go's cache has all platforms.
	@$(if $(filter file,$(origin plugin_platforms)),touch "$${PAT_OPERATOR_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/pat-operator}/dist-$$(go env GOVERSION)")

.PHONY: dist-check
dist-check: ## Check what is in dist: checksums, digests, manifests, and the plugin of this platform.
	@go test ./hack/release -count=1 -run '^TestDist' -dist='$(CURDIR)/dist' -version='$(VERSION)' -plugins='$(plugin_platforms)'

.PHONY: dist-compare
dist-compare: ## Demand that the folders dist and OTHER have the same files: OTHER is the dist of another machine.
	diff -r dist '$(OTHER)'
	@echo "the same files in dist and $(OTHER)"

.PHONY: registry-login
registry-login:
	@printf %s "$$REGISTRY_PASSWORD" | docker login "$${IMAGE_REPOSITORY%%/*}" --username "$$REGISTRY_USER" --password-stdin

.PHONY: publish
publish: ## Push image and chart, sign them and the files of dist, and draft the release. Only the release workflow calls this.
	@VERSION='$(VERSION)' IMAGE_REPOSITORY='$(IMAGE_REPOSITORY)' HELM="$(call tool,helm)" hack/release/publish.sh

.PHONY: managers
managers:
	@for p in $(image_platforms); do \
		GOOS=$${p%/*} GOARCH=$${p#*/} VERSION='$(VERSION)' hack/build.sh "bin/release/$${p%/*}-$${p#*/}/manager" ./cmd/manager; done

.PHONY: plugin-binaries
plugin-binaries:
	@for p in $(plugin_platforms); do case $$p in windows/*) exe=.exe ;; *) exe= ;; esac; \
		GOOS=$${p%/*} GOARCH=$${p#*/} VERSION='$(VERSION)' hack/build.sh "bin/release/$${p%/*}-$${p#*/}/kubectl-pat$$exe" ./cmd/kubectl-pat; done

.PHONY: clean
clean: ## Remove what builds leave in the checkout; the caches outside it stay.
	rm -rf bin dist .dev
