/** Index into a JavaScript string of a byte offset into its UTF-8 form, as the server counts; never past the end. */
export function indexOfByte(text: string, byte: number): number {
  let bytes = 0;
  let index = 0;
  for (const char of text) {
    if (bytes >= byte) break;
    const code = char.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    index += char.length;
  }
  return index;
}

/** The word at an index, as [from, to): what an error at that place is about. At the end of the text: one place beyond. */
export function wordAt(text: string, index: number): [number, number] {
  if (index >= text.length) return [text.length, text.length + 1];
  let end = index;
  while (end < text.length && !/[\s()]/.test(text.charAt(end))) end++;
  return [index, Math.max(end, index + 1)];
}
