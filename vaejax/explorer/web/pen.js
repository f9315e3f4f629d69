// The pen: strokes, and the image that is made of them. `app` is in explorer.js.

/** How the digits of a data set were made: the box that the ink is fitted into, the width of a
 * stroke, both in pixels, and whether the centre of the ink or of its box is put in the middle. */
function penRules(height) {
  return height <= 8
    ? { box: height, stroke: 1.25, byMass: false }
    : { box: (20 * height) / 28, stroke: (2.6 * height) / 28, byMass: true };
}

function bounds(strokes) {
  const xs = strokes.flat().map((p) => p.x);
  const ys = strokes.flat().map((p) => p.y);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

const SUPERSAMPLING = 8;

/** Strokes in pixel units as ink in [0, 1]: each pixel is the share of it that is covered. */
function rasterize(strokes, shape, stroke) {
  const [height, width] = shape;
  const fine = element("canvas", { width: width * SUPERSAMPLING, height: height * SUPERSAMPLING });
  const context = fine.getContext("2d", { willReadFrequently: true });
  context.scale(SUPERSAMPLING, SUPERSAMPLING);
  drawStrokes(context, strokes, { lineWidth: stroke });
  const { data } = context.getImageData(0, 0, fine.width, fine.height);
  const ink = new Float64Array(height * width);
  for (let y = 0; y < fine.height; y++) {
    for (let x = 0; x < fine.width; x++) {
      const pixel = Math.floor(y / SUPERSAMPLING) * width + Math.floor(x / SUPERSAMPLING);
      ink[pixel] += data[4 * (y * fine.width + x) + 3] / 255 / SUPERSAMPLING ** 2;
    }
  }
  return ink;
}

/** The centre of the ink, in pixel units. */
function centreOfMass(ink, width) {
  let [mass, x, y] = [0, 0, 0];
  ink.forEach((value, i) => {
    mass += value;
    x += value * ((i % width) + 0.5);
    y += value * (Math.floor(i / width) + 0.5);
  });
  return { x: x / mass, y: y / mass };
}

/**
 * Strokes of a pen as an image like those of the data set, in [0, 1]: fitted into the box without
 * changing the proportions, and centred. null if there is no stroke.
 */
function drawnDigit(strokes, shape) {
  if (!strokes.length) return null;
  const [height, width] = shape;
  const { box, stroke, byMass } = penRules(height);
  const [left, top, right, bottom] = bounds(strokes);
  const scale = (box - stroke) / Math.max(right - left, bottom - top, 1e-9);
  const spread = Math.max(right - left, bottom - top) > 0 ? scale : 1; // a dot is not blown up
  const place = (dx, dy) =>
    strokes.map((points) =>
      points.map((p) => ({
        x: width / 2 + dx + spread * (p.x - (left + right) / 2),
        y: height / 2 + dy + spread * (p.y - (top + bottom) / 2),
      })),
    );
  const ink = rasterize(place(0, 0), shape, stroke);
  if (!byMass) return ink;
  const centre = centreOfMass(ink, width);
  return rasterize(place(width / 2 - centre.x, height / 2 - centre.y), shape, stroke);
}

// ---- the drawing area ----

const pen = { strokes: [], x: 140, y: 140, down: false, frame: 0 };

function drawPen() {
  const canvas = byId("pen");
  const context = canvas.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (!pen.strokes.length) {
    Object.assign(context, {
      fillStyle: "#999",
      font: "18px system-ui, sans-serif",
      textAlign: "center",
    });
    context.fillText("draw here", canvas.width / 2, canvas.height / 2);
  }
  drawStrokes(context, pen.strokes, { strokeStyle: "#fff", lineWidth: 22 });
  if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
    Object.assign(context, { strokeStyle: pen.down ? "#e69f00" : "#999", lineWidth: 3 });
    context.beginPath();
    context.arc(pen.x, pen.y, 9, 0, 7);
    context.stroke();
  }
}

/** Encode what is drawn, at most once per frame. */
function penMoved() {
  drawPen();
  cancelAnimationFrame(pen.frame);
  pen.frame = requestAnimationFrame(() => {
    const ink = drawnDigit(pen.strokes, app.page.shape);
    if (!ink) return;
    const pixels = app.part.pictures === "drawn" ? ink.map((p) => (p > 0.5 ? 1 : 0)) : ink;
    app.source = { kind: "drawn", pixels };
    showSource();
  });
}

function listenToPen() {
  const canvas = byId("pen");
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) * canvas.width) / box.width,
      y: ((event.clientY - box.top) * canvas.height) / box.height,
    };
  };
  let drawing = false;
  canvas.addEventListener("pointerdown", (event) => {
    drawing = true;
    canvas.setPointerCapture(event.pointerId);
    pen.strokes.push([place(event)]);
    penMoved();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    for (const part of event.getCoalescedEvents ? event.getCoalescedEvents() : [event]) {
      pen.strokes.at(-1).push(place(part));
    }
    penMoved();
  });
  for (const end of ["pointerup", "pointercancel"])
    canvas.addEventListener(end, () => (drawing = false));
  canvas.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) pen.strokes.push([{ x: pen.x, y: pen.y }]);
    } else if (step) {
      pen.x = Math.min(270, Math.max(10, pen.x + 10 * step[0]));
      pen.y = Math.min(270, Math.max(10, pen.y - 10 * step[1]));
      if (pen.down) pen.strokes.at(-1).push({ x: pen.x, y: pen.y });
    } else return;
    event.preventDefault();
    penMoved();
  });
  for (const change of ["focus", "blur"]) canvas.addEventListener(change, drawPen);
  byId("pen-clear").addEventListener("click", () => {
    Object.assign(pen, { strokes: [], down: false });
    drawPen();
    const blank = new Float64Array(app.page.shape.reduce((a, b) => a * b));
    for (const id of ["pen-input", "pen-output"]) {
      paint(document.querySelector(`#${id} canvas`), blank);
    }
  });
}

function penWords() {
  const [height, width] = app.page.shape;
  const { box, byMass } = penRules(height);
  const centred = byMass
    ? "and moved until the centre of its ink is in the middle"
    : "with its box in the middle";
  const like = byMass ? "as the digits of MNIST were" : "as these digits were";
  const threshold =
    app.part.pictures === "drawn"
      ? " Then every pixel above one half becomes white, the others black."
      : "";
  return (
    `Your strokes are fitted into ${Math.round(box)} × ${Math.round(box)} of the ${height} × ${width} pixels ` +
    `without changing their proportions, ${centred}, ${like}. A pixel is the share of it that ink ` +
    `covers.${threshold}`
  );
}
