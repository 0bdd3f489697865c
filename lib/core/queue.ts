/** First in, first out, in constant time whatever its length. */
export class Queue<Item> implements Iterable<Item> {
  #items: (Item | undefined)[] = [];
  #first = 0;

  get length(): number {
    return this.#items.length - this.#first;
  }

  get first(): Item | undefined {
    return this.#items[this.#first];
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  shift(): Item | undefined {
    if (this.#first === this.#items.length) return undefined;
    const item = this.#items[this.#first];
    this.#items[this.#first++] = undefined;
    if (this.#first === this.#items.length) this.clear();
    else if (this.#first > 1024 && this.#first * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return item;
  }

  delete(item: Item): void {
    const at = this.#items.indexOf(item, this.#first);
    if (at !== -1) this.#items.splice(at, 1);
  }

  clear(): void {
    this.#items = [];
    this.#first = 0;
  }

  *[Symbol.iterator](): Iterator<Item> {
    // The loop may call `shift` for the item that it has just got.
    const items = this.#items;
    for (let i = this.#first; i < items.length; i++) {
      const item = items[i];
      if (item !== undefined) yield item;
    }
  }
}
