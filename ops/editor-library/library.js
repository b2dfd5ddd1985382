// What the editor's page uses of CodeMirror, as one script with the global name "codemirror".
import { StyleModule } from "style-mod";

export { EditorState, RangeSet, StateEffect, StateField } from "@codemirror/state";
export { Decoration, EditorView, GutterMarker, WidgetType, gutterLineClass, keymap, lineNumbers } from "@codemirror/view";
export { history, historyKeymap, standardKeymap } from "@codemirror/commands";

// The pages' policy forbids <style>, which is where style-mod puts rules in a document. Adopted style sheets are no
// inline styles, and style-mod uses them in a shadow root only.
const sheets = new WeakMap();
function sheetOf(module) {
  if (!sheets.has(module)) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(module.getRules());
    sheets.set(module, sheet);
  }
  return sheets.get(module);
}
StyleModule.mount = (root, modules) => {
  const wanted = [modules].flat().map(sheetOf);
  root.adoptedStyleSheets = [...root.adoptedStyleSheets.filter((each) => !wanted.includes(each)), ...wanted];
};
