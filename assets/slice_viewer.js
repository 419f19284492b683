// The slice viewer: linked panes of volumes that lie in the browser, so that scrolling, windowing and comparing never
// wait for the server. One Uint8Array comes in: 4 bytes length, a JSON header, then gzipped volumes and colour maps.

const MODES = [["side", "Side by side"], ["blend", "Blend"], ["swipe", "Swipe"], ["checker", "Checkerboard"], ["blink", "Blink"]];
const PLANES = [["axial", "Axial"], ["coronal", "Coronal"], ["sagittal", "Sagittal"], ["all", "Three planes"]];
const GAP = 4;
const BLINK_MS = 600;
const REPORT_MS = 500;
const TILE_MM = 14;
const NOTCH = 80; // pixels that a wheel reports for one notch, at least
const BELOW = 0.5; // brightness of an image that colours lie on
const GLIDE = 30; // pixels on a touch pad for one slice
const LINE_PX = 19; // of words above each other
const ROOM = 6; // pixels between words side by side
const INK = "rgb(222,226,236)";
const LINE = "rgba(120,190,255,0.75)";
const viewers = new WeakMap();

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let viewer = viewers.get(parentElement);
  if (!viewer) {
    viewer = new Viewer(parentElement);
    viewers.set(parentElement, viewer);
  }
  viewer.report = (view) => setStateValue("view", view);
  viewer.take(data);
  return () => { viewer.end(); viewers.delete(parentElement); };
}

// ---------------------------------------------------------------------------------------------------------- content

function headerOf(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  return [header, bytes.subarray(4 + length)];
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function contentOf(header, blobs) {
  const part = ([start, length]) => blobs.subarray(start, start + length);
  const [nI, nJ, nK] = header.shape;
  const panes = await Promise.all(header.panes.map(async (pane) => {
    if (pane.subtract) return { ...pane };
    return { ...pane, voxels: new Uint16Array(await inflate(part(pane.at))) };
  }));
  const byKey = Object.fromEntries(panes.map((pane) => [pane.key, pane]));
  for (const pane of panes) {
    pane.value = pane.subtract
      ? (n) => byKey[pane.subtract[0]].value(n) - byKey[pane.subtract[1]].value(n)
      : (n) => pane.voxels[n] * pane.step + pane.offset;
  }
  const mask = header.mask ? new Uint8Array(await inflate(part(header.mask))) : null;
  const maps = Object.fromEntries(Object.entries(header.maps).map(([name, at]) => [name, part(at)]));
  return { ...header, panes, byKey, maps, mask, strides: [nJ * nK, nK, 1] };
}

// ----------------------------------------------------------------------------------------------------------- viewer

class Viewer {
  constructor(parent) {
    this.root = element("div", "viewer");
    this.root.tabIndex = 0;
    this.bar = element("div", "bar");
    this.stage = element("div", "stage");
    this.status = element("div", "status");
    this.root.append(this.bar, this.stage, this.status);
    parent.append(this.root);
    this.cells = [];
    this.resizes = new ResizeObserver(() => this.arrange());
    this.resizes.observe(this.root);
    this.onWindowResize = () => this.arrange();
    window.addEventListener("resize", this.onWindowResize);
    this.root.addEventListener("keydown", (event) => this.onKey(event));
  }

  end() {
    this.resizes.disconnect();
    window.removeEventListener("resize", this.onWindowResize);
    clearInterval(this.blinking);
    clearTimeout(this.reporting);
    this.root.remove();
  }

  async take(bytes) {
    if (!(bytes instanceof Uint8Array) || bytes.length < 5) return;
    const [header, blobs] = headerOf(bytes);
    if (header.id === this.id) return; // the page ran again; the picture is the same
    this.id = header.id;
    const content = await contentOf(header, blobs);
    if (header.id !== this.id) return; // a newer one came meanwhile
    const isFirst = !this.content;
    const isSameGrid = this.content && String(this.content.shape) === String(content.shape);
    this.content = content;
    const start = { ...header.view, mix: 0.5, windows: {}, isLinked: true, isMasked: true };
    this.view = isSameGrid ? { ...this.view, windows: {} } : start;
    this.view.position = content.field.map(([first, last], axis) => (isSameGrid || isFirst
      ? clamp(this.view.position[axis], first, last - 1) : (first + last) >> 1));
    const isThere = (pair) => pair?.every((key) => key in content.byKey);
    this.view.pair = [this.view.pair, header.pair].find(isThere) ?? null;
    if (!this.view.pair) this.view.mode = "side";
    for (const pane of content.panes) this.view.windows[pane.group] ??= [...pane.window];
    this.buildBar();
    this.build();
  }

  // ------------------------------------------------------------------------------------------------ what is shown
  get planes() {
    const flat = this.content.shape.findIndex((n) => n === 1);
    if (flat >= 0) return [Object.keys(this.content.planes).find((name) => this.content.planes[name].axis === flat)];
    return this.view.plane === "all" ? ["axial", "coronal", "sagittal"] : [this.view.plane];
  }

  get shown() {
    const { panes } = this.content;
    if (this.view.mode === "side" || !this.view.pair) return panes;
    const difference = panes.filter(isApart);
    return [{ ...this.content.byKey[this.view.pair[0]], key: "pair", isPair: true }, ...difference];
  }

  sides(plane) {
    const table = this.content.planes[plane];
    const convention = this.view.radiological ? "radiological" : "neurological";
    return { ...table, ...table[convention] };
  }

  sizeMm(plane) {
    const { columns, rows } = this.content.planes[plane];
    const { spacing, field } = this.content;
    const length = (axis) => (field[axis][1] - field[axis][0]) * spacing[axis];
    return [length(columns), length(rows)];
  }

  // ---------------------------------------------------------------------------------------------------------- build
  build() {
    this.stage.replaceChildren();
    this.cells = [];
    for (const plane of this.planes) {
      for (const pane of this.shown) {
        const canvas = element("canvas", "pane");
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `${pane.title}, ${plane}`);
        const cell = { canvas, pane, plane, small: document.createElement("canvas"), other: document.createElement("canvas") };
        this.listen(cell);
        this.cells.push(cell);
        this.stage.append(canvas);
      }
    }
    clearInterval(this.blinking);
    if (this.view.mode === "blink") {
      this.blinking = setInterval(() => { this.isSecond = !this.isSecond; this.draw(); }, BLINK_MS);
    }
    this.arrange();
  }

  arrange() {
    if (!this.content || !this.cells.length) return;
    const width = this.root.clientWidth;
    if (!width) return;
    const top = Math.min(this.stage.getBoundingClientRect().top, 0.4 * window.innerHeight);
    const height = Math.max(340, window.innerHeight - Math.max(top, 100) - 62);
    const n = this.shown.length;
    const planes = this.planes;
    const sizes = planes.map((plane) => this.sizeMm(plane));
    let best = { scale: 0 };
    for (let columns = planes.length > 1 ? n : 1; columns <= n; columns++) {
      const bands = Math.ceil(n / columns);
      const cell = (width - GAP * (columns - 1)) / columns;
      const tall = sizes.reduce((sum, [, h]) => sum + h, 0) * bands;
      const scale = Math.min(cell / Math.max(...sizes.map(([w]) => w)), (height - GAP * (bands * planes.length - 1)) / tall);
      if (scale > best.scale) best = { scale, columns, cell };
    }
    this.stage.style.gridTemplateColumns = `repeat(${best.columns}, ${Math.floor(best.cell)}px)`;
    const ratio = window.devicePixelRatio || 1;
    for (const cell of this.cells) {
      const tall = Math.floor(this.sizeMm(cell.plane)[1] * best.scale);
      cell.canvas.style.height = `${tall}px`;
      cell.canvas.width = Math.floor(best.cell * ratio);
      cell.canvas.height = Math.floor(tall * ratio);
      cell.ratio = ratio;
      const [w, h] = this.sizeMm(cell.plane).map((mm) => mm * best.scale);
      cell.box = { x: (Math.floor(best.cell) - w) / 2, y: (tall - h) / 2, w, h, scale: best.scale };
    }
    this.draw();
  }

  // ----------------------------------------------------------------------------------------------------------- draw
  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      for (const cell of this.cells) this.drawCell(cell);
      this.drawStatus();
    });
  }

  drawCell(cell) {
    const { canvas, pane, plane, box, ratio } = cell;
    const ctx = canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.fillStyle = "#000";
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.imageSmoothingEnabled = true;
    ctx.imageSmoothingQuality = "high";
    if (pane.isPair) this.drawPair(ctx, cell);
    else if (pane.over) this.drawOver(ctx, cell);
    else ctx.drawImage(this.picture(pane, plane, cell.small), box.x, box.y, box.w, box.h);
    this.drawCrosshair(ctx, cell);
    this.drawWords(ctx, cell);
  }

  picture(pane, plane, canvas) {
    const { strides, maps, field } = this.content;
    const { columns, rows, axis, flip_columns: flipX, flip_rows: flipY } = this.sides(plane);
    const [[x0, x1], [y0, y1]] = [field[columns], field[rows]];
    const [nX, nY] = [x1 - x0, y1 - y0];
    canvas.width = nX;
    canvas.height = nY;
    const ctx = canvas.getContext("2d");
    const image = ctx.createImageData(nX, nY);
    const pixels = image.data;
    const map = maps[pane.colours];
    const [low, high] = this.view.windows[pane.group];
    const gain = 255 / Math.max(high - low, 1e-9);
    const value = pane.value;
    const mask = pane.is_masked && this.view.isMasked ? this.content.mask : null;
    const outside = pane.subtract ? 0 : low;
    const start = this.view.position[axis] * strides[axis];
    for (let y = 0, at = 0; y < nY; y++) {
      const row = start + (flipY ? y1 - 1 - y : y0 + y) * strides[rows];
      for (let x = 0; x < nX; x++, at += 4) {
        const n = row + (flipX ? x1 - 1 - x : x0 + x) * strides[columns];
        const level = ((mask && !mask[n] ? outside : value(n)) - low) * gain;
        const entry = 3 * (level <= 0 ? 0 : level >= 255 ? 255 : Math.round(level));
        pixels[at] = map[entry];
        pixels[at + 1] = map[entry + 1];
        pixels[at + 2] = map[entry + 2];
        pixels[at + 3] = 255;
      }
    }
    ctx.putImageData(image, 0, 0);
    return canvas;
  }

  drawOver(ctx, { pane, plane, box, small, other }) {
    const place = [box.x, box.y, box.w, box.h];
    ctx.globalAlpha = BELOW;
    ctx.drawImage(this.picture(this.content.byKey[pane.over], plane, small), ...place);
    ctx.globalAlpha = 1;
    ctx.globalCompositeOperation = "screen"; // black adds nothing: what is certain stays grey
    ctx.drawImage(this.picture(pane, plane, other), ...place);
    ctx.globalCompositeOperation = "source-over";
  }

  drawPair(ctx, cell) {
    const { box, plane } = cell;
    const [first, second] = this.view.pair.map((key) => this.content.byKey[key]);
    const { mode, mix } = this.view;
    const place = [box.x, box.y, box.w, box.h];
    const below = mode === "blink" && this.isSecond ? second : first;
    ctx.drawImage(this.picture(below, plane, cell.small), ...place);
    if (mode === "blink") return;
    const above = this.picture(second, plane, cell.other);
    ctx.save();
    if (mode === "blend") ctx.globalAlpha = mix;
    else this.clip(ctx, box, mode, mix);
    ctx.drawImage(above, ...place);
    ctx.restore();
    if (mode === "swipe") {
      ctx.fillStyle = INK;
      ctx.fillRect(box.x + box.w * mix - 1, box.y, 2, box.h);
    }
  }

  clip(ctx, box, mode, mix) {
    ctx.beginPath();
    if (mode === "swipe") ctx.rect(box.x + box.w * mix, box.y, box.w * (1 - mix), box.h);
    else {
      const tile = TILE_MM * box.scale * (0.5 + mix);
      for (let y = 0; y * tile < box.h; y++) {
        for (let x = y % 2; x * tile < box.w; x += 2) {
          ctx.rect(box.x + x * tile, box.y + y * tile, Math.min(tile, box.w - x * tile), Math.min(tile, box.h - y * tile));
        }
      }
    }
    ctx.clip();
  }

  drawCrosshair(ctx, { plane, box }) {
    const { columns, rows, flip_columns: flipX, flip_rows: flipY } = this.sides(plane);
    const share = (axis, isFlipped) => {
      const [first, last] = this.content.field[axis];
      const place = (this.view.position[axis] + 0.5 - first) / (last - first);
      return isFlipped ? 1 - place : place;
    };
    const [x, y] = [box.x + share(columns, flipX) * box.w, box.y + share(rows, flipY) * box.h];
    ctx.strokeStyle = LINE;
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (const [x0, y0, x1, y1] of [[box.x, y, x - 9, y], [x + 9, y, box.x + box.w, y], [x, box.y, x, y - 9], [x, y + 9, x, box.y + box.h]]) {
      if (x0 <= x1 && y0 <= y1) { ctx.moveTo(x0, y0); ctx.lineTo(x1, y1); }
    }
    ctx.stroke();
  }

  drawWords(ctx, cell) {
    const { canvas, pane, plane, ratio } = cell;
    const [w, h] = [canvas.width / ratio, canvas.height / ratio];
    const write = (words, x, y, align, baseline, weight = 500, colour = INK) => {
      ctx.font = `${weight} 12.5px "Source Sans", "Source Sans Pro", system-ui, sans-serif`;
      ctx.textAlign = align;
      ctx.textBaseline = baseline;
      ctx.lineWidth = 3;
      ctx.strokeStyle = "rgba(0,0,0,0.85)";
      ctx.strokeText(words, x, y);
      ctx.fillStyle = colour;
      ctx.fillText(words, x, y);
    };
    const [left, right, top, bottom] = this.sides(plane).letters;
    write(left, 6, h / 2, "left", "middle", 650);
    write(right, w - (pane.colours === "grey" ? 6 : 26), h / 2, "right", "middle", 650);
    ctx.font = '600 12.5px "Source Sans", "Source Sans Pro", system-ui, sans-serif';
    const isLong = 20 + ctx.measureText(this.titleOf(pane)).width > w / 2 - 10;
    write(top, w / 2, isLong ? 22 : 5, "center", "top", 650);
    ctx.fillStyle = pane.colour;
    ctx.fillRect(7, 9, 8, 8);
    write(this.titleOf(pane), 20, 6, "left", "top", 600);
    this.drawLowerEdge(ctx, cell, bottom, write);
    if (pane.colours !== "grey" && !pane.isPair) this.drawColourBar(ctx, pane, w, h, write);
  }

  titleOf(pane) {
    if (!pane.isPair) return pane.title;
    const [first, second] = this.view.pair.map((key) => this.content.byKey[key].title);
    if (this.view.mode === "blink") return this.isSecond ? second : first;
    if (this.view.mode === "swipe") return `${first} | ${second}`;
    return `${first} + ${second}`;
  }

  // Value, scale bar and letter stand side by side; in a narrow pane they stand on lines above each other.
  drawLowerEdge(ctx, cell, letter, write) {
    const { canvas, pane, ratio } = cell;
    const [w, h] = [canvas.width / ratio, canvas.height / ratio];
    const lines = [[], [], []];
    const placed = (left, right) => {
      const line = lines.findIndex((spans) => spans.every(([from, to]) => right + ROOM < from || to + ROOM < left));
      lines[Math.max(line, 0)].push([left, right]);
      return h - LINE_PX * (line < 0 ? lines.length - 1 : line);
    };
    const value = pane.isPair ? "" : this.words(pane, this.cursor || this.view.position);
    ctx.font = '650 12.5px "Source Sans", "Source Sans Pro", system-ui, sans-serif';
    cell.widest = Math.max(cell.widest || 0, ctx.measureText(value).width); // else words would jump with the cursor
    if (value) write(value, 7, placed(7, 7 + cell.widest) - 5, "left", "bottom");
    this.drawScaleBar(ctx, cell, w, placed, write);
    write(letter, w / 2, placed(w / 2 - 5, w / 2 + 5) - 4, "center", "bottom", 650);
  }

  drawScaleBar(ctx, { box, pane }, w, placed, write) {
    const length = [100, 50, 20, 10, 5, 2, 1].find((mm) => mm * box.scale <= 0.3 * w);
    if (!length) return;
    const words = length >= 10 ? `${length / 10} cm` : `${length} mm`;
    const right = w - (pane.colours === "grey" ? 8 : 64); // beside the colour bar's lowest number
    const bottom = placed(right - Math.max(length * box.scale, ctx.measureText(words).width), right);
    ctx.fillStyle = INK;
    ctx.fillRect(right - length * box.scale, bottom - 8, length * box.scale, 2);
    write(words, right, bottom - 10, "right", "bottom");
  }

  drawColourBar(ctx, pane, w, h, write) {
    const [low, high] = this.view.windows[pane.group];
    const map = this.content.maps[pane.colours];
    const [x, y, tall] = [w - 16, 44, h - 68]; // below the title
    for (let n = 0; n < tall; n++) {
      const entry = 3 * Math.round(255 * (1 - n / (tall - 1)));
      ctx.fillStyle = `rgb(${map[entry]},${map[entry + 1]},${map[entry + 2]})`;
      ctx.fillRect(x, y + n, 8, 1.5);
    }
    ctx.strokeStyle = "rgba(255,255,255,0.35)";
    ctx.lineWidth = 1;
    ctx.strokeRect(x - 0.5, y - 0.5, 9, tall + 1);
    const said = (value) => (pane.subtract && value > 0 ? "+" : "") + number(value, pane, high - low);
    write(`${said(high)}${pane.unit ? ` ${pane.unit}` : ""}`, w - 6, y - 4, "right", "bottom");
    write(said(low), w - 6, y + tall + 4, "right", "top");
  }

  index(position) {
    return position.reduce((sum, n, axis) => sum + n * this.content.strides[axis], 0);
  }

  words(pane, position) {
    const value = pane.value(this.index(position));
    const [low, high] = pane.window;
    const sign = pane.subtract && value > 0 ? "+" : "";
    const bar = pane.bar ? this.content.byKey[pane.bar].value(this.index(position)) : 0;
    const width = bar > 0 ? ` \u00b1 ${number(bar, pane, high - low)}` : "";
    const unit = pane.unit ? ` ${pane.unit}` : "";
    return `${pane.key === "bar" ? "\u00b1 " : sign}${number(value, pane, high - low)}${width}${unit}${bar > 0 ? " (90 %)" : ""}`;
  }

  drawStatus() {
    const place = this.cursor || this.view.position;
    const mm = this.content.affine.map((row) => row[0] * place[0] + row[1] * place[1] + row[2] * place[2] + row[3]);
    const sides = [["R", "L"], ["A", "P"], ["S", "I"]];
    const where = mm.map((v, n) => `${v >= 0 ? sides[n][0] : sides[n][1]} ${Math.abs(v).toFixed(0)}`).join("  ");
    const which = this.planes.map((plane) => {
      const axis = this.content.planes[plane].axis;
      return `${plane} ${this.view.position[axis] + 1}/${this.content.shape[axis]}`;
    }).join(", ");
    this.status.textContent = `${this.cursor ? "Cursor" : "Crosshair"} ${where} mm   |   Slice ${which}${this.content.note ? `   |   ${this.content.note}` : ""}`;
  }

  // ---------------------------------------------------------------------------------------------------------- mouse
  listen(cell) {
    const { canvas } = cell;
    canvas.addEventListener("wheel", (event) => this.onWheel(event, cell), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.onDown(event, cell));
    canvas.addEventListener("pointermove", (event) => this.onMove(event, cell));
    canvas.addEventListener("pointerup", (event) => this.onUp(event, cell));
    canvas.addEventListener("pointerleave", () => { this.cursor = null; this.draw(); });
    canvas.addEventListener("dblclick", () => this.resetWindows());
  }

  onWheel(event, cell) {
    event.preventDefault();
    if (event.deltaMode || Math.abs(event.deltaY) >= NOTCH) this.rolled = Math.sign(event.deltaY) * GLIDE; // a wheel
    else this.rolled = (this.rolled || 0) + event.deltaY; // a touch pad
    const steps = Math.trunc(this.rolled / GLIDE);
    if (!steps) return;
    this.rolled -= steps * GLIDE;
    this.scroll(cell.plane, -steps);
    this.cursor = this.voxelAt(event, cell);
  }

  onDown(event, cell) {
    this.root.focus({ preventScroll: true });
    cell.canvas.setPointerCapture(event.pointerId);
    this.drag = { x: event.clientX, y: event.clientY, isMoved: false };
    if (event.shiftKey) this.moveTo(this.voxelAt(event, cell));
  }

  onMove(event, cell) {
    if (!this.drag) {
      this.cursor = this.voxelAt(event, cell);
      return this.draw();
    }
    const [dx, dy] = [event.clientX - this.drag.x, event.clientY - this.drag.y];
    if (!this.drag.isMoved && Math.hypot(dx, dy) < 4) return undefined;
    this.drag = { x: event.clientX, y: event.clientY, isMoved: true };
    if (cell.pane.isPair && this.view.mode === "swipe" && !event.shiftKey) return this.swipeTo(event, cell);
    if (event.shiftKey) return this.moveTo(this.voxelAt(event, cell));
    return this.changeWindow(cell.pane, dx, dy);
  }

  onUp(event, cell) {
    if (this.drag && !this.drag.isMoved) this.moveTo(this.voxelAt(event, cell));
    this.drag = null;
  }

  swipeTo(event, cell) {
    const rect = cell.canvas.getBoundingClientRect();
    this.view.mix = clamp((event.clientX - rect.left - cell.box.x) / cell.box.w, 0, 1);
    this.slider.value = this.view.mix;
    this.draw();
  }

  voxelAt(event, { canvas, plane, box }) {
    const { columns, rows, flip_columns: flipX, flip_rows: flipY } = this.sides(plane);
    const rect = canvas.getBoundingClientRect();
    const place = [...this.view.position];
    const put = (axis, share, isFlipped) => {
      const [first, last] = this.content.field[axis];
      place[axis] = clamp(first + Math.floor((isFlipped ? 1 - share : share) * (last - first)), first, last - 1);
    };
    put(columns, (event.clientX - rect.left - box.x) / box.w, flipX);
    put(rows, (event.clientY - rect.top - box.y) / box.h, flipY);
    return place;
  }

  // -------------------------------------------------------------------------------------------------------- actions
  moveTo(position) {
    this.view.position = position;
    this.changed();
  }

  scroll(plane, steps) {
    const axis = this.content.planes[plane].axis;
    this.view.position[axis] = clamp(this.view.position[axis] + steps, 0, this.content.shape[axis] - 1);
    this.cursor = null;
    this.changed();
  }

  changeWindow(pane, dx, dy) {
    const widen = Math.exp(dx / 250);
    for (const [group, [low, high]] of Object.entries(this.view.windows)) {
      const like = this.content.panes.find((other) => other.group === group);
      if (group !== pane.group && (!this.view.isLinked || isApart(like) || isApart(pane))) continue;
      const whole = like.window[1] - like.window[0];
      const level = like.subtract ? 0 : (low + high) / 2 + (dy / 300) * whole;
      const half = clamp(((high - low) / 2) * widen, whole / 200, whole * 10);
      this.view.windows[group] = like.over ? [0, 2 * half] : [level - half, level + half];
    }
    this.draw();
  }

  resetWindows() {
    for (const pane of this.content.panes) this.view.windows[pane.group] = [...pane.window];
    if (this.presets) this.presets.value = "";
    this.draw();
  }

  applyPreset(name) {
    if (!name) return this.resetWindows();
    const [unit, window] = this.content.presets[name];
    for (const pane of this.content.panes) if (pane.unit === unit && !isApart(pane)) this.view.windows[pane.group] = [...window];
    return this.draw();
  }

  set(changes, isNewLayout = true) {
    Object.assign(this.view, changes);
    this.markBar();
    if (isNewLayout) this.build();
    this.changed();
  }

  changed() {
    this.draw();
    clearTimeout(this.reporting);
    const { plane, position, mode } = this.view;
    this.reporting = setTimeout(() => this.report({ plane, position: [...position], mode }), REPORT_MS);
  }

  onKey(event) {
    if (!this.content || ["SELECT", "INPUT"].includes(event.target.tagName) || event.ctrlKey || event.metaKey) return;
    const plane = this.planes[0];
    const modes = MODES.map(([name]) => name);
    const actions = {
      ArrowUp: () => this.scroll(plane, 1),
      ArrowDown: () => this.scroll(plane, -1),
      PageUp: () => this.scroll(plane, 5),
      PageDown: () => this.scroll(plane, -5),
      1: () => this.set({ plane: "axial" }),
      2: () => this.set({ plane: "coronal" }),
      3: () => this.set({ plane: "sagittal" }),
      4: () => this.set({ plane: "all" }),
      m: () => this.view.pair && this.set({ mode: modes[(modes.indexOf(this.view.mode) + 1) % modes.length] }),
      w: () => this.nextPreset(),
      Escape: () => this.resetWindows(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  nextPreset() {
    if (!this.presets) return;
    this.presets.selectedIndex = (this.presets.selectedIndex + 1) % this.presets.options.length;
    this.applyPreset(this.presets.value);
  }

  save() {
    const rects = this.cells.map(({ canvas }) => [canvas, canvas.offsetLeft, canvas.offsetTop]);
    const ratio = this.cells[0].ratio;
    const sheet = document.createElement("canvas");
    sheet.width = Math.max(...rects.map(([canvas, x]) => x * ratio + canvas.width));
    sheet.height = Math.max(...rects.map(([canvas, , y]) => y * ratio + canvas.height));
    const ctx = sheet.getContext("2d");
    for (const [canvas, x, y] of rects) ctx.drawImage(canvas, x * ratio, y * ratio);
    const link = document.createElement("a");
    link.download = `${this.content.name}.png`;
    link.href = sheet.toDataURL("image/png");
    link.click();
  }

  // ------------------------------------------------------------------------------------------------------------ bar
  buildBar() {
    this.bar.replaceChildren();
    this.buttons = [];
    const isFlat = this.content.shape.includes(1);
    if (!isFlat) this.bar.append(this.buttonRow(PLANES, "plane"));
    if (this.view.pair) {
      this.bar.append(this.select("Mode", MODES, this.view.mode, (mode) => this.set({ mode })));
      this.bar.append(this.pairTools());
    }
    const presets = Object.keys(this.content.presets);
    this.presets = presets.length ? this.select("Window", [["", "As opened"], ...presets.map((name) => [name, name])], "", (name) => this.applyPreset(name)) : null;
    if (this.presets) this.bar.append(this.presets);
    this.bar.append(
      this.toggle("isLinked", ["Linked", "Unlinked"], "Change the contrast of all images together, or of one alone", false),
      this.toggle("radiological", ["Radiological", "Neurological"], "Radiological: the patient's right is on the left of the picture, as radiologists look at it", true),
      ...(this.content.mask ? [this.toggle("isMasked", ["Mask", "No mask"], "Hide what was made outside the voxels that are judged", false)] : []),
      this.action("Reset", "Contrast back to the start (double-click, Esc)", () => this.resetWindows()),
      this.action("PNG", "Save what is shown as a picture", () => this.save()),
    );
    this.markBar();
  }

  pairTools() {
    const box = element("span", "pair");
    const choices = this.content.panes.filter((pane) => !isApart(pane)).map((pane) => [pane.key, pane.title]);
    this.slider = element("input");
    Object.assign(this.slider, { type: "range", min: 0, max: 1, step: 0.01, value: this.view.mix, title: "From the first to the second" });
    this.slider.setAttribute("aria-label", "Mix");
    this.slider.addEventListener("input", () => { this.view.mix = Number(this.slider.value); this.draw(); });
    const pick = (n) => this.select(n ? "Second" : "First", choices, this.view.pair[n], (key) => {
      this.set({ pair: n ? [this.view.pair[0], key] : [key, this.view.pair[1]] });
    });
    box.append(pick(0), this.slider, pick(1));
    this.pairBox = box;
    return box;
  }

  buttonRow(options, name) {
    const row = element("span", "row");
    row.setAttribute("role", "group");
    for (const [value, words] of options) {
      const button = this.action(words, "", () => this.set({ [name]: value }));
      this.buttons.push([button, () => this.view[name] === value]);
      row.append(button);
    }
    return row;
  }

  toggle(name, words, tip, isNewLayout) {
    const button = this.action(words[0], tip, () => this.set({ [name]: !this.view[name] }, isNewLayout));
    this.buttons.push([button, () => this.view[name], words]);
    return button;
  }

  action(words, tip, act) {
    const button = element("button");
    button.type = "button";
    button.textContent = words;
    button.title = tip;
    button.addEventListener("click", act);
    return button;
  }

  select(label, options, value, act) {
    const box = element("select");
    box.title = label;
    box.setAttribute("aria-label", label);
    for (const [name, words] of options) {
      const option = element("option");
      option.value = name;
      option.textContent = words;
      box.append(option);
    }
    box.value = value;
    box.addEventListener("change", () => { act(box.value); this.root.focus({ preventScroll: true }); });
    if (label === "Mode") this.modeBox = box;
    return box;
  }

  markBar() {
    for (const [button, isOn, words] of this.buttons) {
      button.setAttribute("aria-pressed", isOn());
      if (words) button.textContent = words[isOn() ? 0 : 1];
    }
    if (this.modeBox) this.modeBox.value = this.view.mode;
    if (this.pairBox) this.pairBox.hidden = this.view.mode === "side";
    if (this.slider) this.slider.hidden = this.view.mode === "blink";
  }
}

// ------------------------------------------------------------------------------------------------------------- small

function element(tag, name = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  return made;
}

function isApart(pane) { // its contrast is its own
  return Boolean(pane.subtract || pane.over);
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

function number(value, pane, range) {
  const digits = pane.unit === "HU" ? 0 : range >= 50 ? 0 : range >= 5 ? 1 : 2;
  return value.toFixed(digits).replace("-0.00", "0.00").replace(/^-0$/, "0").replace("-", "\u2212");
}
