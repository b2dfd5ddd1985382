// Finds in a text's Liquid what a writer sees as chips: variables, conditions and shared texts.
// A chip is a place in the source, which stays as it is. What is not recognised is no chip, and is shown as written.

(() => {
  "use strict";

  const TAG = /\{\{([^{}]*)\}\}|\{%([^{}%]*)%\}/g;
  const RENDER = /^render (['"])([a-z0-9-]+)\1$/;
  const CONDITION = /^(if|unless|elsif) ([a-z_][a-z0-9_.]*)$/;
  const PLURAL = /^([a-z_][a-z0-9_]*)\|plural:'([^']*)','([^']*)'$/;
  const CLOSES = { endif: "if", endunless: "unless", endcase: "case", endfor: "for", endcomment: "comment" };
  const OPENS = new Set(Object.values(CLOSES));

  // An expression without the spaces that mean nothing, and with one kind of quotes.
  function canonical(expression) {
    return expression.trim().split(/('[^']*'|"[^"]*")/).map((each, index) => {
      if (index % 2) return each.includes("'", 1) && each[0] === '"' ? each : `'${each.slice(1, -1)}'`;
      return each.replace(/\s+/g, " ").replace(/ ?([|:,]) ?/g, "$1");
    }).join("");
  }

  // `known` is what the page says of a locale: variables with their formats, and shared texts.
  function reader(known) {
    const formats = new Map();
    for (const variable of Object.values(known.variables)) {
      for (const format of variable.formats) formats.set(canonical(format.source), { variable, format });
    }

    function output(expression) {
      const wanted = canonical(expression);
      const plural = PLURAL.exec(wanted);
      const variable = plural && known.variables[plural[1]];
      if (variable && formats.has(canonical(`${variable.name} | number`))) {
        return { kind: "variable", variable, canonical: wanted, plural: [plural[2], plural[3]] };
      }
      const found = formats.get(wanted);
      return found && { kind: "variable", canonical: wanted, shows: found.format.shows, variable: found.variable };
    }

    function shared(tag) {
      const found = RENDER.exec(tag);
      const text = found && known.shared[found[2]];
      return text && { kind: "shared", text };
    }

    // A condition's chips are made at its end: all of its tags become chips, or none does.
    function condition(tag) {
      const found = CONDITION.exec(tag);
      const variable = found && known.variables[found[2]];
      return variable && { kind: found[1] === "elsif" ? "else" : "open", negated: found[1] === "unless", variable };
    }

    // All tags of a text in their order: {from, to, chip?}; and its conditions: {tags, from, to}.
    function read(text) {
      const tags = [], groups = [], open = [];
      for (const found of text.matchAll(TAG)) {
        const tag = { from: found.index, to: found.index + found[0].length };
        const words = canonical(found[2] ?? ""), name = words.split(/[ :]/)[0], top = open.at(-1);
        const inComment = open.some((each) => each.name === "comment");
        tags.push(tag);
        if (found[1] !== undefined) tag.chip = inComment ? undefined : output(found[1]);
        else if (OPENS.has(name)) open.push({ name, tags: [{ tag, chip: inComment ? undefined : condition(words) }] });
        else if (name in CLOSES) {
          if (top?.name === CLOSES[name]) close(open.pop(), tag);
        } else if ((words === "else" || name === "elsif") && top) {
          top.tags.push({ tag, chip: words === "else" ? { kind: "else" } : condition(words) });
        } else tag.chip = inComment ? undefined : shared(words);
        if (text.slice(tag.from, tag.to).includes("\n")) tag.chip = undefined;
      }

      function close({ name, tags: own }, end) {
        const [first] = own;
        const oneLine = (tag) => !text.slice(tag.from, tag.to).includes("\n");
        if (!first.chip || !oneLine(first.tag) || !oneLine(end)) return;
        const group = { name, from: first.tag.from, to: end.to, tags: [...own.map((each) => each.tag), end], first: first.chip };
        for (const { tag, chip } of own) if (chip && oneLine(tag)) tag.chip = { ...chip, group };
        end.chip = { kind: "close", negated: first.chip.negated, variable: first.chip.variable, group };
        groups.push(group);
      }
      return { tags, groups };
    }
    return { read, canonical };
  }

  // Fills a pattern of the page's language: t("picked", {name: "amount"}).
  const phrases = (patterns) => (key, values = {}) =>
    Object.entries(values).reduce((words, [name, value]) => words.replaceAll(`{${name}}`, () => value), patterns[key]);

  window.gatewayChips = { reader, phrases };
})();
