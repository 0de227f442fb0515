# The whole pipeline: docker run --rm --network none -v "$PWD/out:/out" repedge
# `make docker` hands over the base by date and digest (deploy/base_image.txt); a plain build takes the release's newest
ARG BASE=debian:bookworm-slim
FROM ${BASE}

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /opt/repedge

# toolchains first: they change least. The list and its versions have one home, deploy/packages.txt; what only tests need stays out.
COPY deploy/packages.txt deploy/slim_image.sh deploy/
RUN apt-get update \
 && sed '/ tests:/d; s/#.*//; s/ .*//; /^$/d' deploy/packages.txt \
  | xargs apt-get install -y --no-install-recommends 'python3=3.11*' 'python3-venv=3.11*' ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && sh deploy/slim_image.sh toolchains /

ENV PATH=/opt/repedge/.venv/bin:$PATH
# an extra index with the CPU build of torch keeps the image small; see the README
ARG TORCH_INDEX=""
COPY requirements.txt .
RUN python3 -m venv .venv \
 && sed '/^# tests and lint/,$d' requirements.txt > /tmp/requirements.txt \
 && pip install --no-cache-dir --disable-pip-version-check \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r /tmp/requirements.txt \
 && rm /tmp/requirements.txt \
 && sh deploy/slim_image.sh python .venv/lib/python3.11/site-packages

COPY pyproject.toml README.md LICENSE ./
COPY train train
COPY convert convert
COPY deploy deploy
COPY repedge repedge
COPY firmware_stub firmware_stub
COPY recipes recipes
COPY zoo zoo
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --editable . \
 && python -m compileall -q train convert deploy repedge

# any uid may run it, with a read-only root: everything written goes to /out and /tmp
RUN useradd --create-home --uid 10001 repedge && mkdir /out && chown repedge /out
ENV HOME=/tmp USER=repedge LOGNAME=repedge PYTHONDONTWRITEBYTECODE=1
USER 10001
VOLUME /out
# docker stop is the Ctrl-C that the command knows: the same command goes on
STOPSIGNAL SIGINT
ENTRYPOINT ["repedge"]
CMD ["run", "recipes/quickstart.yaml", "--out", "/out", "--resume"]
