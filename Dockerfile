# CPU by default. For a GPU: docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN useradd --create-home --uid 10001 studio && mkdir /workspace && chown studio /workspace
WORKDIR /app
COPY requirements.txt requirements-signin.txt constraints.txt ./
RUN pip install --no-cache-dir torch==2.13.0 --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple \
 && pip install --no-cache-dir -r requirements.txt -r requirements-signin.txt -c constraints.txt
COPY . .

USER studio
ENV CROSSMODAL_WORKSPACE=/workspace CROSSMODAL_VISITORS=apart PYTHONUNBUFFERED=1 HOME=/home/studio
VOLUME /workspace
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"
CMD ["sh", "-c", "test -e /workspace/runs/run-demo/config.json || python -m core demo; exec python -m ui.serve --server.address 0.0.0.0 --server.port 8501 --server.headless true"]
