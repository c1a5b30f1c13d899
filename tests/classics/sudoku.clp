; configs/classics/sudoku.yaml for CLIPS: the same rules in the same order.
(deftemplate could (slot cell) (slot row) (slot col) (slot box) (slot value))
(deftemplate placed (slot cell) (slot row) (slot col) (slot box) (slot value))
(defrule place
  (could (cell ?c) (row ?r) (col ?k) (box ?b) (value ?v))
  (not (could (cell ?c) (value ~?v)))
  =>
  (assert (placed (cell ?c) (row ?r) (col ?k) (box ?b) (value ?v))))
(defrule used_in_row
  (placed (value ?v) (row ?r) (col ?k))
  ?d <- (could (value ?v) (row ?r) (col ~?k))
  =>
  (retract ?d))
(defrule used_in_col
  (placed (value ?v) (col ?k) (row ?r))
  ?d <- (could (value ?v) (col ?k) (row ~?r))
  =>
  (retract ?d))
(defrule used_in_box
  (placed (value ?v) (box ?b) (cell ?c))
  ?d <- (could (value ?v) (box ?b) (cell ~?c))
  =>
  (retract ?d))
(defrule only_place_in_row
  (could (cell ?c) (row ?r) (col ?k) (box ?b) (value ?v))
  (not (could (value ?v) (row ?r) (col ~?k)))
  ?e <- (could (cell ?c) (value ~?v))
  =>
  (retract ?e))
(defrule only_place_in_col
  (could (cell ?c) (row ?r) (col ?k) (box ?b) (value ?v))
  (not (could (value ?v) (col ?k) (row ~?r)))
  ?e <- (could (cell ?c) (value ~?v))
  =>
  (retract ?e))
(defrule only_place_in_box
  (could (cell ?c) (row ?r) (col ?k) (box ?b) (value ?v))
  (not (could (value ?v) (box ?b) (cell ~?c)))
  ?e <- (could (cell ?c) (value ~?v))
  =>
  (retract ?e))
(defrule box_keeps_to_row
  (could (cell ?c) (row ?r) (col ?k) (box ?b) (value ?v))
  (not (could (value ?v) (box ?b) (row ~?r)))
  ?e <- (could (value ?v) (row ?r) (box ~?b))
  =>
  (retract ?e))
(defrule box_keeps_to_col
  (could (cell ?c) (row ?r) (col ?k) (box ?b) (value ?v))
  (not (could (value ?v) (box ?b) (col ~?k)))
  ?e <- (could (value ?v) (col ?k) (box ~?b))
  =>
  (retract ?e))
(defrule row_keeps_to_box
  (could (cell ?c) (row ?r) (col ?k) (box ?b) (value ?v))
  (not (could (value ?v) (row ?r) (box ~?b)))
  ?e <- (could (value ?v) (box ?b) (row ~?r))
  =>
  (retract ?e))
(defrule col_keeps_to_box
  (could (cell ?c) (row ?r) (col ?k) (box ?b) (value ?v))
  (not (could (value ?v) (col ?k) (box ~?b)))
  ?e <- (could (value ?v) (box ?b) (col ~?k))
  =>
  (retract ?e))
