"""Trains a tagger on the travel requests that the package makes, tags three new ones and writes a model folder."""

import random
import sys
from collections import Counter

import elman

train, dev = elman.travel(seed=1, sentences=1500), elman.travel(seed=2, sentences=150)

# Words that occur once read as unknown, in training too: that is how the network learns what to do with one.
counts = Counter(word for words, _ in train for word in words)
words = ["<UNK>", *sorted(word for word, count in counts.items() if count > 1)]
labels = sorted({tag for _, tags in train for tag in tags})
word_ids = {word: id for id, word in enumerate(words)}
label_ids = {label: id for id, label in enumerate(labels)}


def as_ids(corpus):
    return [
        ([word_ids.get(word, 0) for word in words], [label_ids[tag] for tag in tags])
        for words, tags in corpus
    ]


def accuracy(tagger, corpus):
    found = tagger.label([words for words, _ in corpus])
    pairs = [(a, b) for tags, (_, own) in zip(found, corpus) for a, b in zip(tags, own)]
    return sum(a == b for a, b in pairs) / len(pairs)


params = elman.init(vocab=len(words), embed=30, window=5, hidden=50, classes=len(labels))
learner = elman.Learner(params)
sentences = as_ids(train)
shuffle = random.Random(345).shuffle
for epoch in range(1, 21):
    shuffle(sentences)
    loss = sum(learner.step([sentence], learning_rate=0.1) for sentence in sentences) / len(sentences)
    tagger = elman.Tagger(learner.params, words, labels)
    print(f"epoch {epoch}: loss {loss:.4f}, {100 * accuracy(tagger, dev):.2f}% of the words of new requests right")

for request in ["a train from oslo to york", "two tickets to vienna on monday", "flights from lisbon to oslo"]:
    tags = tagger.label([request.split()])[0]
    print(" ".join(f"{word}/{tag}" if tag != "O" else word for word, tag in zip(request.split(), tags)))
if len(sys.argv) > 1:
    tagger.save(sys.argv[1])
