/* Stored patterns: inflated when they are asked for, as one 8-bit code a cell. How they are stored: packing.py. */
const WEIGHT = Float64Array.from({ length: 256 }, (_, code) => (code / 255) ** 2);
const STEP = 1 / 260100; // (1 / 510)²: what rounding to a code costs beside √w / 255
const sides = (group) => ({ queries: view[view.patterns[group].queries], keys: view[view.patterns[group].keys] });
const isCross = (group) => view.patterns[group].queries !== view.patterns[group].keys;
const opened = new Map();

async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* → {codes, stored}: `stored` is 1 where a weight has a code of its own, null where all have. */
function patternOf(group, layer, head) {
  const name = `${group}/${layer}/${head}`;
  if (!opened.has(name)) {
    if (opened.size >= 64) opened.delete(opened.keys().next().value);
    const { kept, matrices } = view.patterns[group].layers[layer];
    const { queries, keys } = sides(group);
    const open = (bytes) => (kept === null ? { codes: bytes, stored: null } : expand(bytes, queries.length, keys.length, kept));
    opened.set(name, inflate(matrices[head]).then(open));
  }
  return opened.get(name);
}

/* A long row: the mean of what was left out, the first and last key, then gap and code of each kept weight. */
function expand(planes, queries, keys, kept) {
  const codes = new Uint8Array(queries * keys);
  const stored = new Uint8Array(queries * keys);
  const cells = queries * kept;
  for (let query = 0; query < queries; query++) {
    const plane = (number) => planes[number * queries + query];
    codes.fill(plane(0), query * keys + plane(1) + 256 * plane(2), query * keys + plane(3) + 256 * plane(4) + 1);
    let key = 0;
    for (let index = query * kept; index < (query + 1) * kept; index++) {
      const place = 5 * queries + index;
      key += planes[place] + 256 * planes[place + cells];
      codes[query * keys + key] = planes[place + 2 * cells];
      stored[query * keys + key] = 1;
    }
  }
  return { codes, stored };
}

/* What is known of one weight: ± `error` where it has a code of its own, else at most the smallest stored one of its row. */
function known({ codes, stored }, keys, query, key) {
  const start = query * keys;
  const weight = WEIGHT[codes[start + key]];
  const error = Math.sqrt(weight) / 255 + STEP;
  if (!stored || stored[start + key]) return { weight, error, isStored: true };
  let smallest = 255;
  for (let other = start; other < start + keys; other++) if (stored[other]) smallest = Math.min(smallest, codes[other]);
  return { weight, most: ((smallest + 0.5) / 255) ** 2, isStored: false };
}

/* Codes as shades in 0..1, and as colours of the page's scale. Among many tokens all weights are small, so the exponent is one
   with which a weight of 1 / tokens has a fifth of the full colour, but at most the square root and at least the fourth root. */
let exponent = 0.5;
let shades = null;
let ramp = null;
function setShades(tokens) {
  exponent = clamp(Math.log(5) / Math.log(Math.max(2, tokens)), 0.25, 0.5);
  shades = WEIGHT.map((weight) => weight ** exponent);
  readRamp();
}

function readRamp() {
  const stops = [0, 1, 2, 3, 4].map((stop) => css(`--cool-${stop}`)).map((hex) => [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16)));
  ramp = Uint32Array.from({ length: 256 }, (_, code) => {
    const place = shades[code] * 4;
    const low = Math.min(3, Math.floor(place));
    const [r, g, b] = stops[low].map((from, channel) => Math.round(from + (place - low) * (stops[low + 1][channel] - from)));
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
}

function picture(canvas, codes, width, height) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  new Uint32Array(image.data.buffer).set(Uint32Array.from(codes, (code) => ramp[code]));
  canvas.getContext("2d").putImageData(image, 0, 0);
}
