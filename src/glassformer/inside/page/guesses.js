/* Surprise of each token, and what each layer would have put in its place. */
const speaksOfItself = view.predicts === "itself";
const placeOf = (index) => (speaksOfItself ? index : index - 1); // the position whose output speaks about token `index`
const columns = view.tokens.length + (speaksOfItself ? 0 : 1); // the last one: what comes after the text
const layersDown = view.lens.map((_, index) => view.lens.length - 1 - index); // the output on top
const guessesFor = (layer, index) => view.lens[layer].guesses[placeOf(index)] ?? [];
const textOf = (guess) => view.texts[guess[0]];
const isRight = (guess, index) => Boolean(guess) && textOf(guess) === view.tokens[index];
let chosenToken = 0;
let surpriseRun = null;
let gridCells = [];

function drawSurprise() {
  const most = Math.log2(view.vocab_size);
  const known = view.bits.filter((bits) => bits !== null);
  const mean = known.reduce((sum, bits) => sum + bits, 0) / Math.max(1, known.length);
  const from = speaksOfItself ? "when it was masked" : "from the text before it";
  const why = speaksOfItself ? "the tokenizer names no mask token to hide it with" : "nothing stands before it";
  $("surprise-explain").textContent = known.length
    ? `The stronger the colour, the less the model expected this token ${from}: ${mean.toFixed(2)} bits a token on average.`
    : `No token of this text has a surprise: ${why}.`;
  $("surprise-most").textContent = `${most.toFixed(1)} bits, a blind guess`;
  surpriseRun = tokenRun($("surprise-tokens"), view.tokens, { hover: showToken, leave: () => showToken(chosenToken), pick: pickToken });
  surpriseRun.paint(view.bits.map((bits) => clamp((bits ?? 0) / most, 0, 1)));
  view.bits.forEach((bits, index) => surpriseRun.spans[index].classList.toggle("unknown", bits === null));
  $("surprise").hidden = false;
}

function pickToken(index) {
  chosenToken = clamp(index, 0, columns - 1);
  showToken(chosenToken);
}

function showToken(index) {
  const isText = index < view.tokens.length;
  if (isText) surpriseRun.mark(index);
  const bits = view.bits[index] ?? null;
  const best = guessesFor(view.lens.length - 1, index)[0];
  $("token-readout").replaceChildren(
    ...(isText ? [`Token ${index} `, bold(view.tokens[index])] : ["After the text"]),
    bits === null ? (best ? ". " : ": nothing stands before it, so nothing predicts it.") : `: ${bits.toFixed(2)} bits, probability ${percent(2 ** -bits)}. `,
    ...(best ? ["The model's best guess: ", bold(textOf(best)), `, ${percent(best[1])}.`] : []),
  );
  showFocus(index);
  document.querySelectorAll("#lens-grid .on").forEach((cell) => cell.classList.remove("on"));
  gridCells[index].forEach((cell) => cell.classList.add("on"));
}

/* The table of one token: layers by best guesses. */
function drawFocus() {
  const most = Math.max(...view.lens.map((layer) => Math.max(0, ...layer.guesses.map((guesses) => guesses.length))));
  const ranks = Array.from({ length: most }, (_, rank) => rank);
  const far = (rank) => (rank > 2 ? "far" : "");
  const titles = ranks.map((rank) => make("th", far(rank), rank ? `${rank + 1}.` : "best"));
  const head = make("tr", "", make("th", "", "layer"), ...titles, make("th", "actual", "right"));
  const rows = layersDown.map((layer) =>
    make("tr", "", make("th", "", view.lens[layer].name), ...ranks.map((rank) => make("td", far(rank))), make("td", "actual")),
  );
  $("lens-focus").replaceChildren(make("thead", "", head), make("tbody", "", ...rows));
}

function showFocus(index) {
  [...$("lens-focus").tBodies[0].rows].forEach((row, down) => {
    const cells = [...row.cells].slice(1);
    const actual = cells.pop();
    cells.forEach((cell, rank) => showGuess(cell, guessesFor(layersDown[down], index)[rank], index));
    const share = view.lens[layersDown[down]].actual[placeOf(index)] ?? null;
    actual.textContent = share === null ? "–" : percent(share);
  });
}

function showGuess(cell, guess, index) {
  cell.style.setProperty("--w", guess ? guess[1] : 0);
  cell.classList.toggle("right", isRight(guess, index));
  cell.replaceChildren(...(guess ? [bold(textOf(guess)), make("i", "", percent(guess[1]))] : [make("b", ""), make("i", "", "\u2007")]));
}

/* The table of all tokens: each layer's best guess under each token. */
function drawGrid() {
  const head = make("tr", "", make("th", "", "layer"));
  const rows = layersDown.map((layer) => make("tr", "", make("th", "", view.lens[layer].name)));
  gridCells = Array.from({ length: columns }, (_, index) => {
    const top = make("th", "", index < view.tokens.length ? alone(view.tokens[index]) : "next ?");
    head.append(top);
    return [top, ...rows.map((row, down) => row.appendChild(gridCell(guessesFor(layersDown[down], index)[0], index)))];
  });
  $("lens-grid").replaceChildren(make("thead", "", head), make("tbody", "", ...rows));
  listenGrid($("lens-grid"));
  $("lens").hidden = false;
}

function gridCell(guess, index) {
  const cell = make("td", isRight(guess, index) ? "right" : "", guess ? alone(textOf(guess)) : "");
  cell.style.setProperty("--w", guess ? guess[1] : 0);
  return cell;
}

function listenGrid(table) {
  const columnOf = (event) => (event.target.closest("td, th")?.cellIndex ?? 0) - 1;
  table.onpointerover = (event) => columnOf(event) >= 0 && showToken(columnOf(event));
  table.onpointerleave = () => showToken(chosenToken);
  table.onclick = (event) => columnOf(event) >= 0 && pickToken(columnOf(event));
  table.onkeydown = (event) => {
    const step = STEPS[event.key]?.[1];
    if (!step) return;
    event.preventDefault();
    pickToken(chosenToken + step);
    gridCells[chosenToken][0].scrollIntoView({ block: "nearest", inline: "center" });
  };
}
