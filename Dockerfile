# One image for everything: the operator, the members of embedded clusters, and the Jobs that save and verify archives.
# `make image` bundles src/ into dist/ first, so that the image holds one folder of JavaScript and no package manager.
ARG BASE=node:26-bookworm-slim
FROM ${BASE}
LABEL org.opencontainers.image.title="raftsman" \
      org.opencontainers.image.description="Runs Raft clusters on Kubernetes and keeps them recoverable" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY dist/ /app/
COPY LICENSE /app/LICENSE
ENV NODE_ENV=production
# Numeric, so that Kubernetes can prove runAsNonRoot without reading the image's passwd file.
USER 65532:65532
WORKDIR /app
ENTRYPOINT ["node", "/app/main.mjs"]
