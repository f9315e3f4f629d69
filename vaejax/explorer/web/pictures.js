// Elements, pixels on canvases, and planes of two latent units.

const byId = (id) => document.getElementById(id);

/** An HTML element with attributes, and with children or text in it. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** A canvas for one image of the data set, with pixels on it; CSS scales it up. Without a label it is
 * for the eyes alone: what it is in has a name. `app` is in explorer.js. */
function imageCanvas(label, pixels) {
  const [height, width] = app.page.shape;
  const name = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  const canvas = element("canvas", { width, height, class: "picture", ...name });
  if (pixels) paint(canvas, pixels);
  return canvas;
}

/** Show pixels in [0, 1], [height, width, channels], on a canvas of that size. */
function paint(canvas, pixels) {
  const [height, width, channels] = app.page.shape;
  // Small pictures that pixels are put on one by one: a graphics processor would only slow it down.
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) {
      const value = pixels[channels === 1 ? i : channels * i + c];
      image.data[4 * i + c] = Math.round(255 * Math.min(1, Math.max(0, value)));
    }
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** The context of a canvas that is drawn at the resolution of the screen, in units of CSS pixels. */
function sharpContext(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** A colour of the style sheet, by the name of its property. */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Draw each stroke, a list of points, as a line with round ends. */
function drawStrokes(context, strokes, style) {
  Object.assign(context, { lineCap: "round", lineJoin: "round", ...style });
  for (const points of strokes) {
    context.beginPath();
    context.moveTo(points[0].x, points[0].y);
    for (const p of points) context.lineTo(p.x, p.y);
    context.stroke();
  }
}

/** How an arrow key moves: across and up. */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

// ---- what planes of two latent units share ----

/** Circles of the prior N(0, I): one, two and three standard deviations. */
function priorRings(context, x, y, reach) {
  context.strokeStyle = colour("line");
  context.lineWidth = 1;
  for (const deviations of [1, 2, 3]) {
    context.beginPath();
    const [across, up] = [x(deviations) - x(0), y(deviations) - y(0)].map(Math.abs);
    context.ellipse(x(0), y(0), across, up, 0, 0, 7);
    context.stroke();
  }
  context.beginPath();
  context.moveTo(x(-reach), y(0));
  context.lineTo(x(reach), y(0));
  context.moveTo(x(0), y(-reach));
  context.lineTo(x(0), y(reach));
  context.stroke();
}

/** Text that can be read on any ground. */
function haloText(context, text, x, y) {
  Object.assign(context, { strokeStyle: colour("card"), lineWidth: 3, lineJoin: "round" });
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}

function axisNames(context, width, height, [across, up]) {
  context.fillStyle = colour("quiet");
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "alphabetic";
  context.textAlign = "right";
  haloText(context, `unit ${across} →`, width - 8, height - 8);
  context.textAlign = "left";
  if (up !== null) haloText(context, `↑ unit ${up}`, 8, 18);
}
