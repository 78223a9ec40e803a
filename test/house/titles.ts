/** Reads the titles of tests from their sources, without running them: from the syntax tree, so that no text is mistaken for one. */
import swc from '@swc/core';

/** One test as its source has it. What is computed when it runs stands as `…` in its titles. */
export interface Title {
  /** Titles of the describes around it, outermost first. */
  readonly within: readonly string[];
  readonly title: string;
}

type Node = Readonly<Record<string, unknown>> & { readonly type: string };

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';

const hole = '…';

/** The text of a literal, template or sum of them; null when the expression is none. */
function textOf(node: unknown): string | null {
  if (!isNode(node)) return null;
  switch (node.type) {
    case 'StringLiteral':
      return node['value'] as string;
    case 'TemplateLiteral':
      return (node['quasis'] as { cooked: string }[]).map(({ cooked }) => cooked).join(hole);
    case 'BinaryExpression': {
      const [left, right] = [textOf(node['left']), textOf(node['right'])];
      return left === null && right === null ? null : `${left ?? hole}${right ?? hole}`;
    }
    case 'ParenthesisExpression':
    case 'TsConstAssertion':
    case 'TsAsExpression':
    case 'TsSatisfiesExpression':
      return textOf(node['expression']);
    default:
      return null;
  }
}

interface Registration {
  readonly kind: 'test' | 'describe';
  readonly skipped: boolean;
  /** The table of an `each`. */
  readonly table?: unknown;
}

/** What the callee of a call registers: `test`, `describe.only`, `test.each(rows)`, `test.skip.each(rows)`. */
function registration(callee: unknown): Registration | null {
  if (!isNode(callee)) return null;
  switch (callee.type) {
    case 'Identifier': {
      const name = callee['value'];
      if (name === 'test' || name === 'it') return { kind: 'test', skipped: false };
      return name === 'describe' ? { kind: 'describe', skipped: false } : null;
    }
    case 'MemberExpression': {
      const inner = registration(callee['object']);
      const modifier = (callee['property'] as { value?: unknown }).value;
      if (inner === null) return null;
      if (modifier === 'skip' || modifier === 'todo') return { ...inner, skipped: true };
      return modifier === 'each' || modifier === 'only' ? inner : null;
    }
    case 'CallExpression': {
      const inner = registration(callee['callee']);
      const each = callee['callee'] as Node;
      if (inner === null || each.type !== 'MemberExpression') return null;
      return { ...inner, table: (callee['arguments'] as { expression: unknown }[])[0]?.expression };
    }
    default:
      return null;
  }
}

function elements(node: unknown): readonly unknown[] | null {
  if (!isNode(node)) return null;
  if (node.type === 'ArrayExpression') {
    return (node['elements'] as ({ expression: unknown } | null)[]).map((element) => element?.expression);
  }
  return 'expression' in node && node.type !== 'CallExpression' ? elements(node['expression']) : null;
}

/** `%s` at the start of a title is the first cell of each row: where that is a literal, each row has its own title. */
function perRow(title: string, table: unknown): readonly string[] {
  const rows = title.startsWith('%s') ? elements(table) : null;
  if (rows === null) return [title];
  return rows.map((row) => (textOf(row) ?? textOf(elements(row)?.[0]) ?? hole) + title.slice(2));
}

/**
 * The titles of all tests in a TypeScript source, in order. Skipped tests, and all that a skipped describe holds, are left
 * out: they prove nothing.
 */
export function titlesIn(source: string): readonly Title[] {
  const found: Title[] = [];

  const visit = (value: unknown, within: readonly string[]): void => {
    if (Array.isArray(value)) {
      for (const item of value) visit(item, within);
    } else if (typeof value === 'object' && value !== null) {
      const call = isNode(value) && value.type === 'CallExpression' ? value : null;
      const registered = call === null ? null : registration(call['callee']);
      const [first, ...rest] = registered ? (call!['arguments'] as { expression: unknown }[]) : [];
      const title = textOf(first?.expression);
      if (registered === null || title === null) {
        for (const child of Object.values(value)) visit(child, within);
        return;
      }
      if (registered.skipped) return;
      for (const each of perRow(title, registered.table)) {
        if (registered.kind === 'test') found.push({ within, title: each });
        else visit(rest, [...within, each]);
      }
    }
  };

  visit(swc.parseSync(source, { syntax: 'typescript', target: 'es2024' }).body, []);
  return found;
}
