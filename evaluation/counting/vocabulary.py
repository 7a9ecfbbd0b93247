"""Words as small whole numbers, so that a million of them are counted as fast as numbers are."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.int64]
NULL = 0


class Words:
    """A vocabulary that grows as words come: the first is 1, then 2; `NULL` is no word."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._dictionary: pa.Array | None = None
        self._remap = np.zeros(1, np.int64)

    def __len__(self) -> int:
        """How many codes there are, with that of null."""
        return len(self._codes) + 1

    def codes(self, column: pa.Array) -> Codes:
        """The code of each row of a column of any type that Arrow can write as text."""
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        if self._dictionary is None or not column.dictionary.equals(self._dictionary):
            words = column.dictionary.cast(pa.string()).to_pylist()
            codes = [NULL if word is None else self._codes.setdefault(word, len(self)) for word in words]
            self._dictionary, self._remap = column.dictionary, np.array([*codes, NULL], np.int64)
        indices = column.indices
        if indices.null_count:
            indices = pc.fill_null(indices, -1)  # in numpy the last, which is NULL's
        found: Codes = self._remap[indices.to_numpy(zero_copy_only=False)]
        return found

    def words(self, codes: npt.NDArray[np.signedinteger]) -> pa.DictionaryArray:
        """The words of codes, null for `NULL`."""
        indices = pa.array(codes - 1, pa.int32(), mask=codes == NULL)
        return pa.DictionaryArray.from_arrays(indices, pa.array(list(self._codes), pa.string()))
