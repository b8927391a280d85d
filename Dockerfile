# Images of the toolkit: --target modelserver | gateway | deployer. Each runs as uid 65532 with a read-only root file
# system; its entry point is the first process and handles SIGTERM itself. Bytecode is made here because a container
# cannot write it: a pod with a twentieth of a CPU would take seconds to compile the code at every start.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/app
WORKDIR /src
COPY pyproject.toml constraints.txt scripts/requirements.py ./
# Only what all three share, without the libraries of the command line. The code comes last, so that a change of it
# rebuilds little.
RUN python requirements.py | grep -vE '^(typer|rich|jinja2)\b' > base.txt \
 && pip --python /opt/app/bin/python install -c constraints.txt -r base.txt \
 && find /opt/app/lib/python3*/site-packages/numpy -type d -name tests -prune -exec rm -rf {} +

FROM build AS build-modelserver
RUN python requirements.py server > more.txt \
 && pip --python /opt/app/bin/python install -c constraints.txt -r more.txt
# The server calls TensorFlow's C library and nothing of its Python: the library and its name are all that is kept, and
# of the library not the symbols that only a debugger reads. On amd64 the usual wheel carries CUDA code; its twin does not.
RUN apt-get update && apt-get install -y --no-install-recommends binutils \
 && case "$(dpkg --print-architecture)" in amd64) wheel=tensorflow-cpu ;; *) wheel=tensorflow ;; esac \
 && pip --python /opt/app/bin/python install --no-deps "$wheel==$(sed -n 's/^tensorflow==//p' constraints.txt)" \
 && cd /opt/app/lib/python3*/site-packages/tensorflow \
 && find . -mindepth 1 -maxdepth 1 ! -name 'libtensorflow_*' ! -name __init__.py -exec rm -rf {} + \
 && strip --strip-unneeded libtensorflow_*

FROM build AS build-gateway
RUN python requirements.py gateway jwt otel images redis > more.txt \
 && pip --python /opt/app/bin/python install -c constraints.txt -r more.txt

FROM build AS build-deployer
RUN python requirements.py > more.txt && python requirements.py k8s experiment >> more.txt \
 && pip --python /opt/app/bin/python install -c constraints.txt -r more.txt
# The code is copied and not installed; this is where `deployer --version` looks.
RUN version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
 && mkdir -p "/opt/app/src/tfserving_deployer-$version.dist-info" \
 && printf 'Metadata-Version: 2.1\nName: tfserving-deployer\nVersion: %s\n' "$version" \
    > "/opt/app/src/tfserving_deployer-$version.dist-info/METADATA"

FROM ${BASE} AS modelserver
COPY --from=build-modelserver /opt/app /opt/app
COPY tfserving /opt/app/src/tfserving
RUN python -m compileall -q /opt/app/src
ENV PATH=/opt/app/bin:$PATH PYTHONPATH=/opt/app/src PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8500 8501
ENTRYPOINT ["python", "-m", "tfserving.server"]

FROM ${BASE} AS gateway
COPY --from=build-gateway /opt/app /opt/app
COPY tfserving /opt/app/src/tfserving
COPY gateway /opt/app/src/gateway
RUN python -m compileall -q /opt/app/src
ENV PATH=/opt/app/bin:$PATH PYTHONPATH=/opt/app/src PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080 8081 9000
ENTRYPOINT ["python", "-m", "gateway"]

FROM ${BASE} AS deployer
COPY --from=build-deployer /opt/app /opt/app
COPY tfserving /opt/app/src/tfserving
COPY gateway /opt/app/src/gateway
COPY deployer /opt/app/src/deployer
RUN python -m compileall -q /opt/app/src
ENV PATH=/opt/app/bin:$PATH PYTHONPATH=/opt/app/src PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["python", "-m", "deployer.cli"]
