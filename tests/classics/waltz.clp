; configs/classics/waltz.yaml for CLIPS: the same rules in the same order.
(deftemplate line (slot p1) (slot p2))
(deftemplate shape (slot base) (slot p1) (slot p2) (slot p3) (slot kind))
(deftemplate bounds (slot low) (slot high))
(deftemplate stage (slot value))
(deftemplate edge (slot p1) (slot p2) (slot joined) (slot label) (slot plotted))
(deftemplate junction (slot base) (slot p1) (slot p2) (slot p3) (slot kind))
(defrule reverse_edges
  ?x <- (stage (value duplicate))
  ?l <- (line (p1 ?a) (p2 ?b))
  =>
  (assert (edge (p1 ?a) (p2 ?b) (joined false) (label nil) (plotted nil)))
  (assert (edge (p1 ?b) (p2 ?a) (joined false) (label nil) (plotted nil)))
  (retract ?l))
(defrule done_reversing
  (declare (salience -10))
  ?x <- (stage (value duplicate))
  (not (line))
  =>
  (modify ?x (value detect_junctions)))
(defrule make_3_junction
  (declare (salience 10))
  ?x <- (stage (value detect_junctions))
  (shape (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3) (kind ?k))
  ?a <- (edge (p1 ?p) (p2 ?p1) (joined false))
  ?b <- (edge (p1 ?p) (p2 ?p2) (joined false))
  ?c <- (edge (p1 ?p) (p2 ?p3) (joined false))
  =>
  (assert (junction (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3) (kind ?k)))
  (modify ?a (joined true))
  (modify ?b (joined true))
  (modify ?c (joined true)))
(defrule make_l
  ?x <- (stage (value detect_junctions))
  ?a <- (edge (p1 ?p) (p2 ?p1) (joined false))
  ?b <- (edge (p1 ?p) (p2 ?p2&~?p1) (joined false))
  (not (edge (p1 ?p) (p2 ~?p1&~?p2)))
  =>
  (assert (junction (base ?p) (p1 ?p1) (p2 ?p2) (p3 -1) (kind L)))
  (modify ?a (joined true))
  (modify ?b (joined true)))
(defrule done_detecting
  (declare (salience -10))
  ?x <- (stage (value detect_junctions))
  (not (edge (joined false)))
  =>
  (modify ?x (value find_initial_boundary)))
(defrule initial_boundary_l
  ?x <- (stage (value find_initial_boundary))
  (bounds (high ?p))
  (junction (kind L) (base ?p) (p1 ?p1) (p2 ?p2))
  ?a <- (edge (p1 ?p) (p2 ?p1))
  ?b <- (edge (p1 ?p) (p2 ?p2))
  =>
  (modify ?a (label B))
  (modify ?b (label B))
  (modify ?x (value find_second_boundary)))
(defrule initial_boundary_arrow
  ?x <- (stage (value find_initial_boundary))
  (bounds (high ?p))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  ?a <- (edge (p1 ?p) (p2 ?p1))
  ?b <- (edge (p1 ?p) (p2 ?p2))
  ?c <- (edge (p1 ?p) (p2 ?p3))
  =>
  (modify ?a (label B))
  (modify ?b (label +))
  (modify ?c (label B))
  (modify ?x (value find_second_boundary)))
(defrule second_boundary_l
  ?x <- (stage (value find_second_boundary))
  (bounds (low ?p))
  (junction (kind L) (base ?p) (p1 ?p1) (p2 ?p2))
  ?a <- (edge (p1 ?p) (p2 ?p1))
  ?b <- (edge (p1 ?p) (p2 ?p2))
  =>
  (modify ?a (label B))
  (modify ?b (label B))
  (modify ?x (value labeling)))
(defrule second_boundary_arrow
  ?x <- (stage (value find_second_boundary))
  (bounds (low ?p))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  ?a <- (edge (p1 ?p) (p2 ?p1))
  ?b <- (edge (p1 ?p) (p2 ?p2))
  ?c <- (edge (p1 ?p) (p2 ?p3))
  =>
  (modify ?a (label B))
  (modify ?b (label +))
  (modify ?c (label B))
  (modify ?x (value labeling)))
(defrule match_edge
  ?x <- (stage (value labeling))
  ?a <- (edge (p1 ?p1) (p2 ?p2) (label ?l&+|-|B))
  ?b <- (edge (p1 ?p2) (p2 ?p1) (label nil))
  =>
  (modify ?a (plotted t))
  (modify ?b (label ?l) (plotted t)))
(defrule label_l
  ?x <- (stage (value labeling))
  (junction (kind L) (base ?p))
  (edge (p1 ?p) (p2 ?p2) (label +|-))
  ?b <- (edge (p1 ?p) (p2 ~?p2) (label nil))
  =>
  (modify ?b (label B)))
(defrule label_tee_a
  (declare (salience 5))
  ?x <- (stage (value labeling))
  (junction (kind tee) (base ?p) (p1 ?p1) (p3 ?p3))
  ?a <- (edge (p1 ?p) (p2 ?p1) (label nil))
  ?b <- (edge (p1 ?p) (p2 ?p3))
  =>
  (modify ?a (label B))
  (modify ?b (label B)))
(defrule label_tee_b
  ?x <- (stage (value labeling))
  (junction (kind tee) (base ?p) (p1 ?p1) (p3 ?p3))
  ?a <- (edge (p1 ?p) (p2 ?p1))
  ?b <- (edge (p1 ?p) (p2 ?p3) (label nil))
  =>
  (modify ?a (label B))
  (modify ?b (label B)))
(defrule label_fork_1
  ?x <- (stage (value labeling))
  (junction (kind fork) (base ?p))
  (edge (p1 ?p) (p2 ?p1) (label +))
  ?b <- (edge (p1 ?p) (p2 ?p2&~?p1) (label nil))
  ?c <- (edge (p1 ?p) (p2 ~?p2&~?p1))
  =>
  (modify ?b (label +))
  (modify ?c (label +)))
(defrule label_fork_2
  ?x <- (stage (value labeling))
  (junction (kind fork) (base ?p))
  (edge (p1 ?p) (p2 ?p1) (label B))
  (edge (p1 ?p) (p2 ?p2&~?p1) (label -))
  ?c <- (edge (p1 ?p) (p2 ~?p2&~?p1) (label nil))
  =>
  (modify ?c (label B)))
(defrule label_fork_3
  ?x <- (stage (value labeling))
  (junction (kind fork) (base ?p))
  (edge (p1 ?p) (p2 ?p1) (label B))
  (edge (p1 ?p) (p2 ?p2&~?p1) (label B))
  ?c <- (edge (p1 ?p) (p2 ~?p2&~?p1) (label nil))
  =>
  (modify ?c (label -)))
(defrule label_fork_4
  ?x <- (stage (value labeling))
  (junction (kind fork) (base ?p))
  (edge (p1 ?p) (p2 ?p1) (label -))
  (edge (p1 ?p) (p2 ?p2&~?p1) (label -))
  ?c <- (edge (p1 ?p) (p2 ~?p2&~?p1) (label nil))
  =>
  (modify ?c (label -)))
(defrule label_arrow_1a
  (declare (salience 5))
  ?x <- (stage (value labeling))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  (edge (p1 ?p) (p2 ?p1) (label ?l&B|-))
  ?b <- (edge (p1 ?p) (p2 ?p2) (label nil))
  ?c <- (edge (p1 ?p) (p2 ?p3))
  =>
  (modify ?b (label +))
  (modify ?c (label ?l)))
(defrule label_arrow_1b
  ?x <- (stage (value labeling))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  (edge (p1 ?p) (p2 ?p1) (label ?l&B|-))
  ?b <- (edge (p1 ?p) (p2 ?p2))
  ?c <- (edge (p1 ?p) (p2 ?p3) (label nil))
  =>
  (modify ?b (label +))
  (modify ?c (label ?l)))
(defrule label_arrow_2a
  (declare (salience 5))
  ?x <- (stage (value labeling))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  (edge (p1 ?p) (p2 ?p3) (label ?l&B|-))
  ?b <- (edge (p1 ?p) (p2 ?p2) (label nil))
  ?c <- (edge (p1 ?p) (p2 ?p1))
  =>
  (modify ?b (label +))
  (modify ?c (label ?l)))
(defrule label_arrow_2b
  ?x <- (stage (value labeling))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  (edge (p1 ?p) (p2 ?p3) (label ?l&B|-))
  ?b <- (edge (p1 ?p) (p2 ?p2))
  ?c <- (edge (p1 ?p) (p2 ?p1) (label nil))
  =>
  (modify ?b (label +))
  (modify ?c (label ?l)))
(defrule label_arrow_3a
  (declare (salience 5))
  ?x <- (stage (value labeling))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  (edge (p1 ?p) (p2 ?p1) (label +))
  ?b <- (edge (p1 ?p) (p2 ?p2) (label nil))
  ?c <- (edge (p1 ?p) (p2 ?p3))
  =>
  (modify ?b (label -))
  (modify ?c (label +)))
(defrule label_arrow_3b
  ?x <- (stage (value labeling))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  (edge (p1 ?p) (p2 ?p1) (label +))
  ?b <- (edge (p1 ?p) (p2 ?p2))
  ?c <- (edge (p1 ?p) (p2 ?p3) (label nil))
  =>
  (modify ?b (label -))
  (modify ?c (label +)))
(defrule label_arrow_4a
  (declare (salience 5))
  ?x <- (stage (value labeling))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  (edge (p1 ?p) (p2 ?p3) (label +))
  ?b <- (edge (p1 ?p) (p2 ?p2) (label nil))
  ?c <- (edge (p1 ?p) (p2 ?p1))
  =>
  (modify ?b (label -))
  (modify ?c (label +)))
(defrule label_arrow_4b
  ?x <- (stage (value labeling))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  (edge (p1 ?p) (p2 ?p3) (label +))
  ?b <- (edge (p1 ?p) (p2 ?p2))
  ?c <- (edge (p1 ?p) (p2 ?p1) (label nil))
  =>
  (modify ?b (label -))
  (modify ?c (label +)))
(defrule label_arrow_5a
  (declare (salience 5))
  ?x <- (stage (value labeling))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  (edge (p1 ?p) (p2 ?p2) (label -))
  ?b <- (edge (p1 ?p) (p2 ?p1))
  ?c <- (edge (p1 ?p) (p2 ?p3) (label nil))
  =>
  (modify ?b (label +))
  (modify ?c (label +)))
(defrule label_arrow_5b
  ?x <- (stage (value labeling))
  (junction (kind arrow) (base ?p) (p1 ?p1) (p2 ?p2) (p3 ?p3))
  (edge (p1 ?p) (p2 ?p2) (label -))
  ?b <- (edge (p1 ?p) (p2 ?p1) (label nil))
  ?c <- (edge (p1 ?p) (p2 ?p3))
  =>
  (modify ?b (label +))
  (modify ?c (label +)))
(defrule done_labeling
  (declare (salience -10))
  ?x <- (stage (value labeling))
  =>
  (modify ?x (value plot_remaining_edges)))
(defrule plot_remaining
  ?x <- (stage (value plot_remaining_edges))
  ?a <- (edge (plotted nil) (label ~nil))
  =>
  (modify ?a (plotted t)))
(defrule plot_boundaries
  ?x <- (stage (value plot_remaining_edges))
  ?a <- (edge (plotted nil) (label nil))
  =>
  (modify ?a (plotted t)))
(defrule done_plotting
  (declare (salience -10))
  ?x <- (stage (value plot_remaining_edges))
  (not (edge (plotted nil)))
  =>
  (modify ?x (value done)))
