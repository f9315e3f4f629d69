// Two images: their posteriors, as codes drawn from them, and what is decoded between their means.
// `app` is in explorer.js.

const CLOUD_CODES = 250;
const SLIDE_MS = 350;
let cloudNow = null;
let cloudFrame = 0;

/** A point a share of the way from a to b. */
const mix = (a, b, share) => a.map((value, i) => value + share * (b[i] - value));

/** What is drawn of two posteriors: mean and sigma in the two units in which their means are
 * farthest apart. */
function cloudOf(posteriors) {
  const [a, b] = posteriors;
  const units = byFalling(a.mean.map((m, i) => Math.abs(m - b.mean[i]))).slice(0, 2);
  if (units.length < 2) units.push(units[0]);
  const flat = units.length > 1 && units[0] === units[1];
  const members = posteriors.map(({ mean, sigma }) => ({
    mean: units.map((u, axis) => (flat && axis ? 0 : mean[u])),
    sigma: units.map((u, axis) => (flat && axis ? 1 : sigma[u])),
  }));
  return { units: flat ? [units[0]] : units, members };
}

function showClouds(model) {
  const codes = codesOf(model);
  const posteriors = app.pair.map((index) => codes[index]);
  const target = cloudOf(posteriors);
  describeClouds(target, posteriors);
  showCouple(model);
  const still = !cloudNow || matchMedia("(prefers-reduced-motion: reduce)").matches;
  const start = still ? target : cloudNow;
  cancelAnimationFrame(cloudFrame);
  const began = performance.now();
  const step = (now) => {
    const t = still ? 1 : Math.min(1, Math.max(0, (now - began) / SLIDE_MS));
    const eased = t * t * (3 - 2 * t);
    cloudNow = {
      units: target.units,
      members: target.members.map((member, k) => ({
        mean: mix(start.members[k].mean, member.mean, eased),
        sigma: mix(start.members[k].sigma, member.sigma, eased),
      })),
    };
    drawClouds(cloudNow);
    if (t < 1) cloudFrame = requestAnimationFrame(step);
  };
  step(began);
}

function drawClouds({ units, members }) {
  const canvas = byId("clouds");
  const { context, width, height } = sharpContext(canvas);
  if (!width) return;
  const reach = Math.max(
    4,
    ...members.flatMap((m) => m.mean.map((v, i) => Math.abs(v) + Math.max(0.6, 2 * m.sigma[i]))),
  );
  const x = (value) => (width / 2) * (1 + value / reach);
  const y = (value) => (height / 2) * (1 - value / reach);
  priorRings(context, x, y, reach);
  const normal = normalGenerator(7); // the same noise at every scale
  members.forEach(({ mean, sigma }, k) => {
    context.fillStyle = colour(k ? "b" : "a");
    context.globalAlpha = 0.55;
    for (let i = 0; i < CLOUD_CODES; i++) {
      const [at, up] = [x(mean[0] + sigma[0] * normal()), y(mean[1] + sigma[1] * normal())];
      context.beginPath();
      if (k) context.rect(at - 2, up - 2, 4, 4);
      else context.arc(at, up, 2.2, 0, 7);
      context.fill();
    }
  });
  context.globalAlpha = 1;
  context.font = "bold 15px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  members.forEach(({ mean }, k) => {
    const [at, up] = [x(mean[0]), y(mean[1])];
    const near = Math.hypot(...members[0].mean.map((v, i) => x(v) - x(members[1].mean[i]))) < 22;
    const aside = near ? (k ? 11 : -11) : 0;
    context.fillStyle = colour("card");
    context.beginPath();
    context.arc(at + aside, up, 11, 0, 7);
    context.fill();
    context.strokeStyle = colour(k ? "b" : "a");
    context.lineWidth = 2;
    context.stroke();
    context.fillStyle = colour(k ? "b" : "a");
    context.fillText("AB"[k], at + aside, up + 1);
  });
  axisNames(context, width, height, units.length > 1 ? units : [units[0], null]);
}

function describeClouds({ units }, [a, b]) {
  const apart = Math.hypot(...a.mean.map((m, i) => m - b.mean[i]));
  const widest = (Math.max(...a.sigma) + Math.max(...b.sigma)) / 2;
  const narrowest = (Math.min(...a.sigma) + Math.min(...b.sigma)) / 2;
  const one = apart < 0.1;
  const words = one
    ? "One cloud: codes drawn for A and for B cannot be told apart. "
    : apart < 2
      ? "The clouds begin to part. "
      : "Two clouds: the code says which image it is of. ";
  const widths =
    a.sigma.length === 1
      ? `width (sigma) ${short(widest, 2)}`
      : `widths (sigma) from ${short(narrowest, 2)} to ${short(widest, 2)}`;
  const text =
    `${words}Posterior means ${apart < 0.01 ? "less than 0.01" : short(apart, 2)} apart, ${widths}. Shown: ${CLOUD_CODES} codes ` +
    `drawn for each image, in the ${units.length > 1 ? "two units in which the means differ most" : "only unit"}. ` +
    "Circles: 1, 2 and 3 standard deviations of the prior.";
  byId("clouds-words").textContent = text;
  byId("clouds").setAttribute("aria-label", text);
}

function showCouple(model) {
  const members = app.pair.map((index, k) => {
    const of = `of image ${"AB"[k]}`;
    return element(
      "div",
      { class: `member ${"ab"[k]}` },
      element("b", {}, pairName(k)),
      imageCanvas(`input ${of}`, testPixels(index)),
      imageCanvas(`reconstruction ${of}`, reconstruction(model, index)),
    );
  });
  byId("couple").replaceChildren(...members);
}

/** The letter and the class of the first or the second of the two images. */
const pairName = (k) => `${"AB"[k]}: ${className(app.page.labels[app.pair[k]])}`;

// ---- the path from A to B ----

const ON_PATH = 9; // pictures; the slider goes five steps from one to the next

function preparePath() {
  byId("path").replaceChildren(...Array.from({ length: ON_PATH }, () => imageCanvas()));
  byId("share").addEventListener("input", () => showBetween(app.model));
}

/** What a model decodes a share of the way from the posterior mean of A to that of B. */
function onPath(model, share) {
  const [a, b] = app.pair.map((index) => codesOf(model)[index].mean);
  return decode(netsOf(model), mix(a, b, share));
}

function showPath(model) {
  [...byId("path").children].forEach((canvas, i) => {
    paint(canvas, onPath(model, i / (ON_PATH - 1)));
  });
  ["path-a", "path-b"].forEach((id, k) => (byId(id).textContent = pairName(k)));
  showBetween(model);
}

/** The larger picture, of where the slider is. */
function showBetween(model) {
  const percent = Number(byId("share").value);
  paint(document.querySelector("#between canvas"), onPath(model, percent / 100));
  const words = `${percent} % of the way`;
  byId("between-words").textContent = words;
  byId("share").setAttribute("aria-valuetext", words);
}
