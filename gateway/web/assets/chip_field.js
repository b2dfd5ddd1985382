// A text's field in which Liquid is shown as chips: CodeMirror over the form's textarea, which stays what is sent.
// Each chip is a place of the source that the caret steps over; what the writer doesn't touch stays as it was.

(() => {
  "use strict";

  if (!window.codemirror) return;
  const {
    Decoration, EditorState, EditorView, GutterMarker, RangeSet, StateEffect, StateField, WidgetType,
    gutterLineClass, history, historyKeymap, keymap, lineNumbers, standardKeymap,
  } = window.codemirror;

  // The words of a chip: what it shows, and its name for screen readers. `t` fills a pattern of the page's language.
  function wording(chip, t) {
    const { variable } = chip;
    if (chip.kind === "shared") {
      const says = chip.text.says || t("nothing", { name: chip.text.name });
      return { label: "", shows: says, name: t("shared", { says }) };
    }
    if (chip.kind === "variable") {
      const shows = chip.plural ? t("plural", { one: chip.plural[0], other: chip.plural[1] }) : chip.shows;
      return { label: variable.label, shows, name: t("words", { name: variable.label, value: shows }) };
    }
    if (chip.kind === "else") {
      const words = variable ? t("or_if", { name: variable.given }) : t("otherwise");
      return { label: words, shows: "", name: words };
    }
    const sentence = t(chip.negated ? "only_unless" : "only_if", { name: variable.given });
    return chip.kind === "open" ? { label: sentence, shows: "", name: sentence } : { label: t("end"), shows: "", name: t("end_of", { sentence }) };
  }

  function inside({ label, shows }) {
    const parts = [["label", label], ["shows", shows]].filter(([, words]) => words);
    return parts.flatMap(([kind, words], index) => {
      const part = document.createElement("span");
      part.className = `chip-${kind}`;
      part.textContent = words;
      return index ? [" ", part] : [part];
    });
  }

  class ChipWidget extends WidgetType {
    constructor(chip, picked, alone, t) {
      super();
      Object.assign(this, wording(chip, t), { kind: chip.kind, picked, alone });
    }

    eq(other) {
      return ["kind", "label", "shows", "name", "picked", "alone"].every((each) => this[each] === other[each]);
    }

    toDOM() {
      const chip = document.createElement("span");
      chip.setAttribute("role", "button");
      chip.setAttribute("aria-haspopup", "dialog");
      chip.setAttribute("aria-label", this.name);
      chip.tabIndex = -1;
      chip.append(...inside(this));
      chip.chipName = this.name;
      this.updateDOM(chip);
      return chip;
    }

    // A chip that is picked by the mouse stays the element that the click ends on.
    updateDOM(chip) {
      chip.className = `chip chip-${this.kind}${this.picked ? " picked" : ""}${this.alone ? " alone" : ""}`;
      return chip.chipName === this.name;
    }

    ignoreEvent() { return false; }
  }

  const setLevels = StateEffect.define();
  const lineClass = { error: Decoration.line({ class: "error" }), warning: Decoration.line({ class: "warning" }) };
  class LevelMarker extends GutterMarker {
    constructor(level) { super(); this.elementClass = level; }
  }
  const numberClass = { error: new LevelMarker("error"), warning: new LevelMarker("warning") };
  // The findings' lines, by number: {3: "error"}.
  const levels = StateField.define({
    create: () => ({ lines: Decoration.none, numbers: RangeSet.empty }),
    update(value, transaction) {
      const set = transaction.effects.find((each) => each.is(setLevels));
      if (!set) return transaction.docChanged ? { lines: value.lines.map(transaction.changes), numbers: value.numbers.map(transaction.changes) } : value;
      const { doc } = transaction.state, starts = [];
      for (const [line, level] of Object.entries(set.value)) if (Number(line) <= doc.lines) starts.push([doc.line(Number(line)).from, level]);
      const sorted = starts.sort((one, other) => one[0] - other[0]);
      return {
        lines: Decoration.set(sorted.map(([from, level]) => lineClass[level].range(from))),
        numbers: RangeSet.of(sorted.map(([from, level]) => numberClass[level].range(from))),
      };
    },
    provide: (field) => [
      EditorView.decorations.from(field, (value) => value.lines),
      gutterLineClass.from(field, (value) => value.numbers),
    ],
  });

  // The chips of a text: their places, what is drawn, and what the caret steps over.
  function chipsField(reader, t) {
    function build(state, found) {
      const { from: start, to: end } = state.selection.main, drawn = [], atoms = [], chips = [];
      for (const { from, to, chip } of found.tags) {
        if (!chip) { drawn.push(Decoration.mark({ class: "tagged" }).range(from, to)); continue; }
        const line = state.doc.lineAt(from);
        const alone = chip.kind === "shared" && !line.text.replace(state.sliceDoc(from, to), "").trim();
        const shown = Decoration.replace({ widget: new ChipWidget(chip, start === from && end === to, alone, t) });
        drawn.push(shown.range(from, to));
        atoms.push(shown.range(from, to));
        chips.push({ from, to, chip });
      }
      for (const { tags } of found.groups) {
        const [from, to] = [tags[0].to, tags.at(-1).from];
        if (from < to) drawn.push(Decoration.mark({ class: "conditional" }).range(from, to));
      }
      return { found, chips, drawn: Decoration.set(drawn, true), atoms: RangeSet.of(atoms) };
    }
    return StateField.define({
      create: (state) => build(state, reader.read(state.doc.toString())),
      update(value, transaction) {
        if (!transaction.docChanged && !transaction.selection) return value;
        return build(transaction.state, transaction.docChanged ? reader.read(transaction.state.doc.toString()) : value.found);
      },
      provide: (field) => [
        EditorView.decorations.from(field, (value) => value.drawn),
        EditorView.atomicRanges.of((view) => view.state.field(field).atoms),
      ],
    });
  }

  // Who deletes one end of a condition deletes its other tags as well, and keeps the words between them.
  function wholeConditions(field) {
    return EditorState.transactionFilter.of((transaction) => {
      if (!transaction.docChanged || !(transaction.isUserEvent("delete") || transaction.isUserEvent("input"))) return transaction;
      const gone = [];
      transaction.changes.iterChangedRanges((from, to) => { gone.push([from, to]); });
      const isGone = (tag) => gone.some(([from, to]) => from <= tag.from && to >= tag.to);
      const touched = (tag) => gone.some(([from, to]) => from < tag.to && to > tag.from);
      const more = [];
      for (const { tags } of transaction.startState.field(field).found.groups) {
        if (isGone(tags[0]) !== isGone(tags.at(-1))) more.push(...tags.filter((each) => !touched(each)));
      }
      return more.length ? [transaction, { changes: more.map(({ from, to }) => ({ from, to })) }] : transaction;
    });
  }

  // `on`: {changed(), picked(chip or null), open(chip), keydown(event)}; `known`: the chips of the text's locale.
  function chipField(area, known, t, on) {
    const reader = window.gatewayChips.reader(known), field = chipsField(reader, t);
    const label = document.querySelector(`label[for="${area.id}"]`);
    label.id ||= `label-${area.id}`;
    const at = (from) => view.state.field(field).chips.find((each) => each.from === from);
    const picked = () => {
      const { from, to } = view.state.selection.main;
      return view.state.field(field).chips.find((each) => each.from === from && each.to === to);
    };
    const pick = (chip) => { view.dispatch({ selection: { anchor: chip.from, head: chip.to }, scrollIntoView: true }); return true; };
    function step(forward) {
      const { main } = view.state.selection;
      const next = main.empty && view.state.field(field).chips.find((each) => (forward ? each.from : each.to) === main.head);
      return next ? pick(next) : false;
    }
    const isRtl = () => view.textDirectionAt(view.state.selection.main.head) !== 0;
    const keys = [
      { key: "ArrowRight", run: () => step(!isRtl()) },
      { key: "ArrowLeft", run: () => step(isRtl()) },
      { key: "Enter", run: () => { const chip = picked(); if (chip) on.open(chip); return Boolean(chip); } },
    ];
    const view = new EditorView({
      doc: area.value,
      extensions: [
        EditorState.lineSeparator.of("\n"),
        EditorState.readOnly.of(area.readOnly),
        EditorView.editable.of(!area.readOnly),
        EditorView.lineWrapping,
        EditorView.perLineTextDirection.of(true),
        EditorView.contentAttributes.of({
          "aria-labelledby": label.id, "aria-describedby": area.getAttribute("aria-describedby"),
          lang: area.lang, dir: "auto", spellcheck: "true", autocapitalize: "sentences", autocorrect: "on", tabindex: "0",
        }),
        lineNumbers(), history(), field, levels, wholeConditions(field),
        EditorView.domEventHandlers({
          keydown: (event) => on.keydown(event),
          mousedown(event) {
            const chip = event.target.closest?.(".chip");
            if (!chip || event.button) return false;
            event.preventDefault();
            view.focus();
            return pick(at(view.posAtDOM(chip)));
          },
          click(event) {
            const chip = event.target.closest?.(".chip");
            if (chip) on.open(at(view.posAtDOM(chip)));
            return Boolean(chip);
          },
        }),
        keymap.of([...keys, ...historyKeymap, ...standardKeymap]),
        EditorView.updateListener.of((update) => {
          if (update.docChanged && area.value !== update.state.doc.toString()) {
            area.value = update.state.doc.toString();
            on.changed();
          }
          if (update.selectionSet) on.picked(picked());
        }),
      ],
    });
    view.dom.addEventListener("input", (event) => event.stopPropagation()); // the textarea has its own
    label.addEventListener("click", () => { if (view.dom.offsetParent) view.focus(); });
    // CodeMirror's own style holds its element displayed, so the page hides one around it.
    const box = document.createElement("div");
    box.className = "chip-box";
    box.append(view.dom);
    area.after(box);

    return {
      area, view, reader,
      picked,
      focus: () => view.focus(),
      selection: () => { const { from, to } = view.state.selection.main; return [from, to]; },
      select: (from, to) => view.dispatch({ selection: { anchor: from, head: to }, scrollIntoView: true }),
      before: () => (view.composing ? "" : view.state.sliceDoc(0, view.state.selection.main.head)),
      replace: (from, to, insert) => view.dispatch({ changes: { from, to, insert }, selection: { anchor: from + insert.length }, scrollIntoView: true }),
      changeAll: (changes) => view.dispatch({ changes }),
      setLevels: (found) => view.dispatch({ effects: setLevels.of(found) }),
      // The textarea was changed beside this field, as source.
      refresh: () => { if (view.state.doc.toString() !== area.value) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: area.value } }); },
    };
  }

  // A text that is only read, with the same chips, beside its source.
  function chipWords(place, known, t) {
    const text = place.textContent, shown = place.cloneNode();
    let done = 0;
    for (const { from, to, chip } of window.gatewayChips.reader(known).read(text).tags) {
      if (!chip) continue;
      const span = document.createElement("span");
      span.className = `chip-read chip-${chip.kind}`;
      span.append(...inside(wording(chip, t)));
      shown.append(text.slice(done, from), span);
      done = to;
    }
    shown.append(text.slice(done));
    shown.classList.add("for-chips");
    place.classList.add("for-source");
    place.after(shown);
  }

  window.gatewayChips.chipField = chipField;
  window.gatewayChips.chipWords = chipWords;
  window.gatewayChips.wording = wording;
})();
