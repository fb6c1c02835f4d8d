// Reading JSON so that no two readers can see two different things in it: I-JSON (RFC 7493), narrowed by the formats.
//
// Objects become Map, whole numbers number, every other number a Decimal, which is kept as it is written: nothing that
// is verified depends on its value.
import { fromUtf8 } from "./encoding.js";
import { Refusal } from "./errors.js";

export const MAX_DEPTH = 32;

const MAX_INTEGER = 2n ** 53n;
const MAX_DIGITS = 15;
const SMALLEST_EXPONENT = -30n;
const LARGEST_EXPONENT = 10n ** 17n;
const NUMBER = /(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?/y;
// A number of 16 digits or with an exponent, in text without spaces; the same within a text is looked at for nothing.
const ODD_NUMBER = /[:,[]-?(?:[0-9.]{16}|[0-9.]+[eE])/;
const PLAIN_TEXT = /[^"\\\u0000-\u001f]*/y;
const SPACE = /[ \t\n\r]*/y;
const ESCAPES = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
const [BRACE, BRACKET, BRACE_END, BRACKET_END, QUOTE, BACKSLASH] = [123, 91, 125, 93, 34, 92];

/** A number that is not written as a whole one. */
export class Decimal {
  constructor(token) {
    this.token = token;
  }
}

/** Read one JSON text from bytes. Refusal `json`, or `json-depth` for nesting deeper than 32. */
export function strictJson(bytes) {
  return plain(bytes) ?? readClosely(bytes);
}

/**
 * The object or array that `bytes` plainly are, by the browser's own reader; null when a closer look is needed.
 *
 * Plain is what the browser would write: text that it gives back character for character has no duplicate names, no
 * space, one spelling of everything. Escapes, deep nesting and numbers of more than 15 digits or dots are not plain.
 */
function plain(bytes) {
  let text, value;
  try {
    text = fromUtf8(bytes);
    if (text.includes("\\") || ODD_NUMBER.test(text)) return null;
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof TypeError || error instanceof SyntaxError) return null;
    throw error;
  }
  if (typeof value !== "object" || value === null || JSON.stringify(value) !== text) return null;
  return mapped(value, 1);
}

/** A value of `JSON.parse` with Maps for objects; null when it is nested too deeply. */
function mapped(value, depth) {
  if (typeof value === "number") return Number.isInteger(value) ? value : new Decimal(String(value));
  if (typeof value !== "object" || value === null) return value;
  if (depth > MAX_DEPTH) return null;
  const members = Array.isArray(value) ? value : Object.entries(value);
  const made = Array.isArray(value) ? [] : new Map();
  for (const member of members) {
    const inner = Array.isArray(value) ? member : member[1];
    const read = mapped(inner, depth + 1);
    if (read === null && inner !== null) return null;
    if (Array.isArray(made)) made.push(read);
    else made.set(member[0], read);
  }
  return made;
}

/** What `strictJson` says of a text that is not plain; the same for one that is, only slower. */
function readClosely(bytes) {
  checkDepth(bytes);
  let text;
  try {
    text = fromUtf8(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    refuse("不是有效的 UTF-8", "not valid UTF-8");
  }
  return new Reader(text).whole();
}

/** Whether a value is what JSON calls an object. */
export function isObject(value) {
  return value instanceof Map;
}

/** Whether an object has exactly these members. */
export function hasExactly(value, names) {
  return isObject(value) && value.size === names.length && names.every((name) => value.has(name));
}

function checkDepth(bytes) {
  let depth = 0;
  for (let position = 0; position < bytes.length; position++) {
    const byte = bytes[position];
    if (byte === BRACE || byte === BRACKET) {
      depth += 1;
      if (depth > MAX_DEPTH) {
        throw new Refusal("json-depth", `JSON 嵌套超过 ${MAX_DEPTH} 层`, `JSON nested deeper than ${MAX_DEPTH}`);
      }
    } else if (byte === BRACE_END || byte === BRACKET_END) {
      depth -= 1;
    } else if (byte === QUOTE) {
      position = endOfText(bytes, position);
    }
  }
}

/** The position of the quote that ends the text begun at `start`; `start` itself when nothing ends it. */
function endOfText(bytes, start) {
  for (let position = start + 1; position < bytes.length; position++) {
    if (bytes[position] === BACKSLASH) position += 1;
    else if (bytes[position] === QUOTE) return position;
  }
  return start;
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  whole() {
    if (this.text.startsWith("\ufeff")) refuse("不允许以字节顺序标记（BOM）开头", "starts with a byte order mark");
    const value = this.value();
    this.space();
    if (this.at !== this.text.length) this.fail("extra data");
    return value;
  }

  value() {
    this.space();
    switch (this.text[this.at]) {
      case "{":
        return this.object();
      case "[":
        return this.array();
      case '"':
        return this.string();
      case "t":
        return this.word("true", true);
      case "f":
        return this.word("false", false);
      case "n":
        return this.word("null", null);
      default:
        return this.number();
    }
  }

  object() {
    const members = new Map();
    this.at += 1;
    if (this.next("}")) return members;
    do {
      this.space();
      if (this.text[this.at] !== '"') this.fail("a member has a name in quotes");
      const name = this.string();
      if (members.has(name)) refuse(`成员名“${name}”重复`, `the name '${name}' occurs twice in one object`);
      if (!this.next(":")) this.fail("a colon follows a name");
      members.set(name, this.value());
    } while (this.next(","));
    if (!this.next("}")) this.fail("an object ends in }");
    return members;
  }

  array() {
    const elements = [];
    this.at += 1;
    if (this.next("]")) return elements;
    do elements.push(this.value());
    while (this.next(","));
    if (!this.next("]")) this.fail("an array ends in ]");
    return elements;
  }

  string() {
    let value = "";
    this.at += 1;
    for (;;) {
      value += this.match(PLAIN_TEXT)[0];
      const character = this.text[this.at];
      this.at += 1;
      if (character === '"') break;
      if (character !== "\\") this.fail("a text ends in a quote and holds no control characters");
      value += this.escape();
    }
    if (value.includes("\0")) refuse("文本含有 NUL 字符", "a text holds NUL");
    if (/[\ud800-\udfff]/u.test(value)) refuse("文本含有孤立的代理字符", "a text holds a lone surrogate");
    return value;
  }

  escape() {
    const character = this.text[this.at];
    this.at += 1;
    if (character !== "u") return ESCAPES[character] ?? this.fail("an unknown escape");
    const digits = this.text.slice(this.at, this.at + 4);
    if (!/^[0-9A-Fa-f]{4}$/.test(digits)) this.fail("an escape has four hex digits");
    this.at += 4;
    return String.fromCharCode(Number.parseInt(digits, 16));
  }

  number() {
    const found = this.match(NUMBER);
    if (!found) this.fail("a value is expected");
    const [token, sign, whole, fraction, exponent] = found;
    if (fraction !== undefined || exponent !== undefined) {
      checkDecimal(token, whole + (fraction ?? ""), BigInt(exponent ?? 0) - BigInt(fraction?.length ?? 0));
      return new Decimal(token);
    }
    if (token.length > 17 || BigInt(whole) > MAX_INTEGER) refuse("整数超出 ±2^53", "a whole number beyond 2**53");
    return whole === "0" ? 0 : Number(sign + whole);
  }

  word(word, value) {
    if (!this.text.startsWith(word, this.at)) this.fail("a value is expected");
    this.at += word.length;
    return value;
  }

  next(character) {
    this.space();
    if (this.text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  space() {
    this.match(SPACE);
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) this.at += found[0].length;
    return found;
  }

  fail(message) {
    refuse(`JSON 语法错误（位置：${this.at}）`, `not JSON: ${message} (at ${this.at})`);
  }
}

/** Bounds of a decimal: `digits` times ten to the `exponent`. */
function checkDecimal(token, digits, exponent) {
  if (token.length > 64) refuse("数值写法过长", "a number is written with more than 64 characters");
  const coefficient = digits.replace(/^0+(?=.)/, "");
  if (exponent > LARGEST_EXPONENT || exponent < -LARGEST_EXPONENT) refuse("数值必须是有限的", "a number is finite");
  const isZero = coefficient === "0" || /^0+$/.test(coefficient);
  const leading = exponent + BigInt(coefficient.length) - 1n;
  if (!isZero && isBeyond(coefficient, exponent, leading)) refuse("数值超出 ±2^53", "a number beyond 2**53");
  if (coefficient.length > MAX_DIGITS || leading < SMALLEST_EXPONENT) {
    refuse("数值精度超过 15 位有效数字", "a number with more than 15 significant digits or below 1e-30");
  }
}

function isBeyond(coefficient, exponent, leading) {
  if (leading !== 15n) return leading > 15n;
  const scaled = exponent < 0n ? MAX_INTEGER * 10n ** -exponent : MAX_INTEGER;
  return BigInt(coefficient) * (exponent > 0n ? 10n ** exponent : 1n) > scaled;
}

function refuse(zh, en) {
  throw new Refusal("json", zh, en);
}
