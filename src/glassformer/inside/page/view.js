/* The page from top to bottom; the files before this one draw its pictures. */
function pythonFor(address, head) {
  const [model, name] = [view.model, address].map((text) => JSON.stringify(text));
  const pair = view.source.length > 0;
  return [
    "import torch",
    "import glassformer as gf",
    "",
    `model, tokenizer = gf.load(${model}), gf.load_tokenizer(${model})`,
    `${pair ? "source" : "tokens"} = torch.tensor([tokenizer.encode(text)])`,
    ...(pair ? ["tokens = torch.tensor([[model.special.decoder_start, *tokenizer.encode(target)]])"] : []),
    "with model.trace() as trace:",
    `    trace.read(${name}${head === null ? "" : `, head=${head}`})`,
    `    logits = model(${pair ? "source, tokens" : "tokens"})`,
    `value = trace[${name}]  # ${head === null ? "batch position model" : "batch head query key"}`,
  ].join("\n");
}

function exactness() {
  const layers = view.patterns.flatMap((group) => group.layers);
  const worst = weightText(Math.max(0, ...layers.map((layer) => layer.worst_error)));
  const rest = layers.reduce((sum, layer) => sum + layer.mean_rest, 0) / Math.max(1, layers.length);
  const kept = layers.map((layer) => layer.kept).find((count) => count !== null) ?? null;
  const ofTokens = [
    "Bits and probabilities are the model's own, printed with four digits; of each layer the best few guesses are kept.",
    "A middle layer is read by recomputing the final norm on its values and applying the model's own head; the last layer read this way equals the model's output exactly.",
  ];
  const ofPatterns = [
    "An attention weight w is stored as √w in 8 bits: what is read out differs from the model's weight by at most √w/255 + 0.000004, which is 0.0039 at w = 1 and 0.0012 at w = 0.1.",
    kept === null
      ? `All weights of all heads are stored; the largest difference on this page is ${worst}.`
      : `To keep this file small, only the ${kept} largest weights of each row are stored. The others are shown as their mean: together they are ${percent(rest)} of a row's attention on average, and no weight on this page is off by more than ${worst}.`,
  ];
  return [...(view.predicts === "nothing" ? [] : ofTokens), ...(layers.length ? ofPatterns : [])];
}

$("model").textContent = `Inside ${view.model}`;
$("about").textContent = `${view.about} · ${view.tokens.length} tokens${view.source.length ? `, ${view.source.length} of the source` : ""}`;
$("exact").replaceChildren(...exactness().map((line) => make("li", "", line)));
$("python").textContent = pythonFor(view.lens.at(-1)?.address ?? "logits", null);
if (view.predicts !== "nothing") {
  drawSurprise();
  drawFocus();
  drawGrid();
  pickToken(view.bits.reduce((most, bits, index) => ((bits ?? -1) > (view.bits[most] ?? -1) ? index : most), 0));
}
if (view.patterns.length) {
  drawGroups();
  listenLarge();
  openGroup(view.patterns.length - 1);
}
